from __future__ import annotations

import json

import numpy as np
import pytest

from engrain.progress import Silent
from engrain.train.data import tokens_seen
from engrain.train.horizon import steps
from engrain.train.run import train
from engrain.train.settings import TrainingSettings

LENGTHS = np.array([10, 10, 10, 10, 4])


@pytest.mark.parametrize("epochs", [1, 3])
def test_epochs_are_whole_passes(epochs: int):
    settings = TrainingSettings(epochs=epochs, batch_sequences=2)
    assert steps(settings, LENGTHS) == 3 * epochs


@pytest.mark.parametrize("tokens", [1, 20, 21, 44, 45, 88, 1000])
def test_a_horizon_in_tokens_ends_with_the_step_that_reaches_it(tokens: int):
    settings = TrainingSettings(tokens=tokens, batch_sequences=2)
    last = steps(settings, LENGTHS)
    assert tokens_seen(LENGTHS, 2, last) >= tokens > tokens_seen(LENGTHS, 2, last - 1)


def test_as_many_tokens_as_two_epochs_have_train_as_two_epochs_do(
    trained, mixture, student, settings, tmp_path
):
    given = {**settings.model_dump(), "epochs": None, "tokens": trained.counts["tokens"]}
    done = train(mixture, student, TrainingSettings(**given), tmp_path, seed=0, progress=Silent())
    assert done.counts["steps"] == trained.counts["steps"]
    weights = [folder / "model.safetensors" for folder in (done.path, trained.path)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def rates(settings, mixture, student, folder) -> list[float]:
    done = train(mixture, student, settings, folder, seed=0, progress=Silent())
    rows = (done.path / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["learning_rate"] / settings.learning_rate for row in rows]


def test_wsd_is_constant_between_its_warm_up_and_its_decay(mixture, student, settings, tmp_path):
    wsd = settings.model_copy(update={"schedule": "wsd", "warmup": 0.14, "decay": 0.5})
    found = rates(wsd, mixture, student, tmp_path)
    falling = [1 - (step / 7) ** 0.5 for step in range(7)]
    assert found == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, *falling])


def test_constant_is_constant_after_its_warm_up(mixture, student, settings, tmp_path):
    constant = settings.model_copy(update={"schedule": "constant", "warmup": 0.14})
    found = rates(constant, mixture, student, tmp_path)
    assert found == pytest.approx([0, 0.5, *[1.0] * 12])
