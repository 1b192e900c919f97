"""Trainings that are lost stop early and say why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engrain.errors import UserError
from engrain.progress import Silent
from engrain.train.run import train
from engrain.train.settings import LoraSettings


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_learning_rate_that_changes_nothing_stops_the_training_early(
    lora, mixture, student, settings, tmp_path
):
    tiny = settings.model_copy(update={"learning_rate": 1e-15, "lora": lora})
    with pytest.raises(UserError, match=r"3 steps .* changed 0.0% .*raise training.learning_rate"):
        train(mixture, student, tiny, tmp_path, seed=0, progress=Silent())
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(written) == 3, "the step that showed it is not written down"


def test_the_papers_learning_rate_changes_enough(mixture, student, settings, tmp_path):
    small = settings.model_copy(update={"learning_rate": 1e-7, "epochs": 1})
    train(mixture, student, small, tmp_path, seed=0, progress=Silent())


def test_a_tokenizer_of_another_student_stops_the_training_at_its_first_step(
    trained, mixture, student, settings, tmp_path
):
    """As a tokenizer with other ids: every token's embedding is another token's."""
    other = Path(shutil.copytree(student, tmp_path / "other"))
    weights = load_file(trained.path / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    # Sharper than the little that it has learned, as a real student is.
    weights["model.embed_tokens.weight"] = 4 * table.roll(1, 0)
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"worse than one that guesses \(loss .* guessing 3.8\)"):
        train(mixture, str(other), settings, tmp_path / "out", seed=0, progress=Silent())


def test_a_student_of_random_weights_may_be_trained(trained, settings):
    first = json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert first == pytest.approx(torch.tensor(45.0).log().item(), abs=0.5)
