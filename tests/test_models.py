from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engrain import store
from engrain.errors import UserError
from engrain.models import load_tokenizer, model_identity, tokenizer_identity


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_is_its_content_wherever_it_lies(checkpoint, tmp_path):
    moved = Path(shutil.copytree(checkpoint, tmp_path / "moved"))
    assert model_identity(str(moved)) == model_identity(str(checkpoint))
    assert tokenizer_identity(str(moved)) == tokenizer_identity(str(checkpoint))
    (moved / "README.md").write_text("A card changes no model.")
    assert model_identity(str(moved)) == model_identity(str(checkpoint))


def test_other_weights_are_another_model_with_the_same_tokenizer(checkpoint, tmp_path):
    before = model_identity(str(checkpoint)), tokenizer_identity(str(checkpoint))
    (checkpoint / "model.safetensors").write_bytes(b"WEIGHTS")
    assert model_identity(str(checkpoint)) != before[0]
    assert tokenizer_identity(str(checkpoint)) == before[1]
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    assert tokenizer_identity(str(checkpoint)) != before[1]


def test_a_trained_checkpoint_is_its_fingerprint(checkpoint):
    made = store.run_stage(
        checkpoint,
        stage="train",
        settings={},
        inputs={},
        build=lambda _: {},
        say=lambda _: None,
    )
    assert model_identity(str(checkpoint)) == made.fingerprint


def test_a_model_that_is_nowhere_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"student '.*none' is not a folder"):
        model_identity(str(tmp_path / "none"))
    with pytest.raises(UserError, match="neither a folder nor reachable on the hub"):
        model_identity("nobody/no-such-model")
    with pytest.raises(UserError, match="neither a folder nor reachable on the hub"):
        load_tokenizer("no-such-model")
    with pytest.raises(UserError, match="neither a folder nor a model on the hub"):
        tokenizer_identity("not a name!")


def test_a_folder_without_weights_or_tokenizer_is_named(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"a folder without config.json and"):
        model_identity(str(checkpoint))
    (checkpoint / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        tokenizer_identity(str(checkpoint))


def test_a_broken_tokenizer_is_one_sentence(checkpoint):
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Nothing"}))
    with pytest.raises(UserError, match=r"the tokenizer of student .* cannot be loaded"):
        load_tokenizer(str(checkpoint))
