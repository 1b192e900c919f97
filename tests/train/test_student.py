from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from engrain.errors import UserError
from engrain.train.student import load_student


@pytest.fixture
def copy(student: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(student, tmp_path / "copy"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_student_is_trained_in_fp32(student):
    loaded = load_student(student, 32)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_sequences_longer_than_the_positions_are_refused(student):
    with pytest.raises(UserError, match=r"set training.sequence_length to 64 or less"):
        load_student(student, 65)


def test_a_tokenizer_larger_than_the_embedding_is_refused(copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_tokens(["new"])
    tokenizer.save_pretrained(copy)
    with pytest.raises(UserError, match=r"has 46 tokens, its embedding 45 rows"):
        load_student(str(copy), 32)


def test_a_checkpoint_without_some_weights_is_refused(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 'model.norm.weight'"):
        load_student(str(copy), 32)


def test_a_broken_weights_file_is_refused_in_one_sentence(copy):
    (copy / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be loaded as a causal language model"):
        load_student(str(copy), 32)


def test_an_unknown_architecture_is_refused_in_one_sentence(copy):
    edit(copy / "config.json", model_type="no_such_model")
    with pytest.raises(UserError, match="cannot be loaded as a causal language model"):
        load_student(str(copy), 32)


def test_generation_stops_at_the_token_with_which_every_text_ends(copy):
    edit(copy / "generation_config.json", eos_token_id=[2, 3], temperature=0.7)
    loaded = load_student(str(copy), 32)
    assert loaded.model.generation_config.eos_token_id == [2, 3, 1]
    loaded.model.save_pretrained(copy)
