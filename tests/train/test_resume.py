"""A training that is interrupted at any step goes on as if it had not been."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from engrain.progress import Bar, Silent
from engrain.train.run import train

STEPS = 14
"""7 of them an epoch."""
STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


class InterruptError(Exception):
    """The training is cut off here."""


class Cut(Silent):
    """A progress that cuts the training off in `step`, before its checkpoint is written."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        yield self

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        if note:
            self.step -= 1
            if self.step == 0:
                raise InterruptError


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def state(checkpoint: Path) -> dict[str, Any]:
    found = {name: torch.load(checkpoint / name, weights_only=False) for name in STATE}
    return found | {"weights": weights(checkpoint)}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if hasattr(one, "tobytes"):
        return bool(one.tobytes() == other.tobytes())
    return bool(one == other)


@pytest.fixture
def cut(mixture, student, settings, tmp_path) -> Callable[..., Cut]:
    """Train into a folder, cut off in the given step from where it goes on."""

    def until(folder: str, step: int, **changed: Any) -> Cut:
        often = settings.model_copy(update={"save_every": 0.0, "report_to": (), **changed})
        progress = Cut(step)
        with pytest.raises(InterruptError):
            train(mixture, student, often, tmp_path / folder, seed=0, progress=progress)
        return progress

    return until


def goes_on_exactly(cut: Callable[..., Cut], folder: Path, step: int, **changed: Any) -> None:
    """Cut off in `step`, go on, and compare everything that a checkpoint holds near the end."""
    cut("whole", STEPS - 1, **changed)
    cut("parts", step, **changed)
    resumed = cut("parts", STEPS - step, **changed)
    assert f"train: going on from checkpoint-{step - 1}" in resumed.lines
    name = f"checkpoint-{STEPS - 2}"
    assert equal(state(folder / "parts" / name), state(folder / "whole" / name))


# In the middle of an epoch, and between two.
@pytest.mark.parametrize("step", [4, 8])
def test_weights_optimiser_schedule_and_randomness_go_on_exactly(cut, tmp_path, step):
    goes_on_exactly(cut, tmp_path, step, micro_batch=2)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [8, 2])
@pytest.mark.parametrize("step", range(2, STEPS - 1))
def test_a_training_goes_on_exactly_from_any_step(cut, tmp_path, step, micro_batch):
    goes_on_exactly(cut, tmp_path, step, micro_batch=micro_batch)


TRAIN = """
import sys
from pathlib import Path
from engrain import store
from engrain.progress import Silent
from engrain.train.run import train
from engrain.train.settings import TrainingSettings

mixture, student, out, settings = sys.argv[1:]
settings = TrainingSettings.model_validate_json(settings)
train(store.load(Path(mixture)), student, settings, Path(out), seed=0, progress=Silent())
"""


@pytest.mark.slow
def test_kills_at_random_moments_of_writing_leave_a_checkpoint_that_is_used(
    trained, mixture, student, settings, tmp_path
):
    draw = Random(0)
    often = settings.model_copy(update={"save_every": 0.0, "epochs": 8})
    arguments = [str(mixture.path), student, str(tmp_path), often.model_dump_json()]
    halves = 0
    for kill in range(10):
        after = 4 + 5 * kill
        with subprocess.Popen([sys.executable, "-c", TRAIN, *arguments]) as process:
            try:
                while newest(tmp_path) < after:
                    assert process.poll() is None, "training ended before it could be killed"
                    time.sleep(0.001)
                time.sleep(draw.uniform(0, 0.05))
            finally:
                process.kill()
        found = list(tmp_path.glob("checkpoint-*"))
        whole = [folder for folder in found if (folder / "sealed.json").exists()]
        assert whole, f"no checkpoint is left whole of {found}"
        halves += len(found) > len(whole)
    assert halves, "no kill hit the writing of a checkpoint"
    resumed = train(mixture, student, often, tmp_path, seed=0, progress=Silent())
    whole_run = train(mixture, student, often, tmp_path / "whole", seed=0, progress=Silent())
    assert weights(resumed.path) == weights(whole_run.path)


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, whole or not."""
    steps = [int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*")]
    return max(steps, default=0)
