"""The whole export: what is in the folder, and that it is the student that was trained."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from engrain.backends.transformers import prompt_tokens
from engrain.errors import UserError
from engrain.evaluate.prompts import prompt
from engrain.export.run import export

MODEL = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}


def answer(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, list[int]]:
    """Logits of a question, and what is written after it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    ids = torch.tensor([prompt_tokens(tokenizer, prompt("Who kept the salt mill?"))])
    with torch.inference_mode():
        written = network.generate(ids, max_new_tokens=16, do_sample=False)
        return network(ids).logits.float(), written[0, ids.shape[1] :].tolist()


def test_the_folder_holds_the_model_and_its_card_and_nothing_of_the_run(exported):
    assert {path.name for path in exported.folder.iterdir()} == {*MODEL, "README.md"}
    assert set(exported.files) == {*MODEL, "README.md"}
    assert exported.label == "1"
    assert exported.evaluated


def test_it_loads_as_it_is_and_answers_as_the_checkpoint_does(run, exported):
    ours, theirs = answer(exported.folder), answer(run / "checkpoint" / "1")
    assert torch.equal(ours[0], theirs[0])
    assert ours[1] == theirs[1]


def test_in_bf16_every_weight_is_and_the_answers_are_close(run, exported, tmp_path):
    made = export(run, tmp_path / "half", dtype="bf16")
    weights = load_file(made.folder / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert made.written.dtype == "BF16"
    assert json.loads((made.folder / "config.json").read_text())["dtype"] == "bfloat16"
    rounded, exact = answer(made.folder)[0], answer(exported.folder)[0]
    assert not torch.equal(rounded, exact)
    assert torch.allclose(rounded.softmax(-1), exact.softmax(-1), atol=0.05)
    assert set(made.files) == {*MODEL, "README.md"}
    said = "these are rounded to BF16"
    assert said in (made.folder / "README.md").read_text()
    assert said not in (exported.folder / "README.md").read_text()


def test_each_budget_has_its_own_student_and_the_largest_is_the_default(run, exported, tmp_path):
    smaller = export(run, tmp_path / "half", budget="0.5")
    assert smaller.label == "0.5"
    weights = [load_file(one.folder / "model.safetensors") for one in (smaller, exported)]
    assert not torch.equal(*(one["model.norm.weight"] for one in weights))
    with pytest.raises(UserError, match=r"no student of budget '2' .* there are 0\.5, 1"):
        export(run, tmp_path / "none", budget="2")
    assert not (tmp_path / "none").exists()


def test_weights_share_the_disk_space_of_the_checkpoint_until_that_is_trained_again(
    copied, tmp_path
):
    checkpoint = copied() / "checkpoint" / "1" / "model.safetensors"
    weights = export(checkpoint.parents[2], tmp_path / "out").folder / "model.safetensors"
    assert weights.samefile(checkpoint)
    before = weights.read_bytes()
    save_file({name: torch.zeros(1) for name in load_file(checkpoint)}, checkpoint)
    assert not weights.samefile(checkpoint)
    assert weights.read_bytes() == before


def test_every_file_may_be_read_by_whom_the_configuration_may(exported):
    # safetensors lets only the owner read what it writes; servers often run as somebody else.
    modes = {path.stat().st_mode for path in exported.folder.iterdir()}
    assert len(modes) == 1


def test_weights_are_copied_where_they_cannot_be_shared(run, exported, tmp_path, monkeypatch):
    def other_disk(source: object, to: object) -> None:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, "link", other_disk)
    weights = export(run, tmp_path / "out").folder / "model.safetensors"
    assert weights.stat().st_nlink == 1
    assert weights.read_bytes() == (exported.folder / "model.safetensors").read_bytes()


def test_a_folder_without_a_trained_student_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="no trained student"):
        export(run / "corpus", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(run, tmp_path, monkeypatch):
    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left"):
        export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
