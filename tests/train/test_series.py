from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engrain import store
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.train import loop
from engrain.train.run import train
from engrain.train.series import Course, Series, course
from engrain.train.settings import TrainingSettings

SHARES = (0.5, 1.0)


@pytest.fixture(scope="module")
def stable(settings) -> TrainingSettings:
    return TrainingSettings.model_validate(
        {
            **settings.model_dump(),
            "epochs": 1,
            "schedule": "wsd",
            "batch_sequences": 2,
            "warmup": 0.1,
            "decay": 0.3,
        }
    )


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def rows(folder: Path) -> list[tuple[int, float, float, int]]:
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"], row["learning_rate"], row["tokens"]) for row in read]


def place(folder: Path, share: float) -> Series:
    return Series(shares=SHARES, share=share, folder=folder / "long_run")


@pytest.fixture(scope="module")
def series(mixture, student, stable, tmp_path_factory):
    """Both students of a series, the smaller one first."""
    folder = tmp_path_factory.mktemp("series")
    return folder, [
        train(
            mixture,
            student,
            stable,
            folder / f"{share:g}",
            seed=0,
            progress=Silent(),
            place=place(folder, share),
        )
        for share in SHARES
    ]


def test_a_cooled_student_is_bit_for_bit_one_that_was_trained_alone_on_the_same_stream(
    series, mixture, student, stable, tmp_path
):
    _, cooled = series
    smaller = course(stable, mixture.counts["sequences"], SHARES, 0.5)
    for share, made in zip(SHARES, cooled, strict=True):
        steps = course(stable, mixture.counts["sequences"], SHARES, share).steps
        # By itself: so many tokens of the same mixture, with the warm-up of the smallest.
        alone = stable.model_copy(
            update={
                "epochs": None,
                "tokens": made.counts["tokens"],
                "warmup": smaller.warmup / steps,
            }
        )
        out = tmp_path / f"{share:g}"
        whole = train(mixture, student, alone, out, seed=0, progress=Silent())
        assert whole.counts["steps"] == made.counts["steps"] == steps
        assert weights(made.path) == weights(whole.path)
        assert rows(made.path) == rows(whole.path)


def test_the_long_run_is_walked_once_and_its_tokens_are_counted(series, mixture, stable):
    folder, (half, whole) = series
    first = course(stable, mixture.counts["sequences"], SHARES, 0.5)
    last = course(stable, mixture.counts["sequences"], SHARES, 1.0)
    kept = sorted(path.parent.name for path in (folder / "long_run").glob("*/record.json"))
    assert kept == sorted([str(first.leaves), str(last.leaves)])
    for step in kept:
        held = list((folder / "long_run" / step).glob("checkpoint-*"))
        assert [path.name for path in held] == [f"checkpoint-{step}"]
    assert half.counts["tokens"] < whole.counts["tokens"] == mixture.counts["tokens"]
    assert half.counts["shared_tokens"] < half.counts["tokens"]
    rates = [rate for _, _, rate, _ in rows(folder / "long_run" / str(last.leaves))]
    assert set(rates[first.warmup :]) == {stable.learning_rate}
    assert not list(half.path.glob("checkpoint-*"))


def test_a_finished_student_needs_the_long_run_no_more(series, mixture, student, stable, tmp_path):
    folder, _ = series
    moved = shutil.copytree(folder, tmp_path / "moved")
    shutil.rmtree(moved / "long_run")
    said = Said()
    for share in SHARES:
        train(
            mixture,
            student,
            stable,
            moved / f"{share:g}",
            seed=0,
            progress=said,
            place=place(moved, share),
        )
    assert [line.split(" (")[0] for line in said.lines] == ["train: already done"] * 2
    assert not (moved / "long_run").exists()


def test_a_checkpoint_of_another_long_run_is_not_gone_on_from(
    series, mixture, student, stable, tmp_path
):
    folder, (_, whole) = series
    shutil.copytree(folder / "long_run", tmp_path / "long_run")
    said = Said()
    other = stable.model_copy(update={"learning_rate": 2e-2})
    made = train(
        mixture,
        student,
        other,
        tmp_path / "1",
        seed=0,
        progress=said,
        place=place(tmp_path, 1.0),
    )
    steps = course(stable, mixture.counts["sequences"], SHARES, 1.0)
    going = [line for line in said.lines if "going on from" in line]
    assert going == [f"train: going on from checkpoint-{steps.leaves}"]
    assert any("done before with other settings" in line for line in said.lines)
    assert weights(made.path) != weights(whole.path)


KILLED = """
import sys
from pathlib import Path
from engrain import store
from engrain.progress import Silent
from engrain.train.run import train
from engrain.train.series import Series
from engrain.train.settings import TrainingSettings

mixture, student, out, settings, place = sys.argv[1:]
settings = TrainingSettings.model_validate_json(settings)
place = Series.model_validate_json(place)
train(
    store.load(Path(mixture)), student, settings, Path(out), seed=0, progress=Silent(), place=place
)
"""


@pytest.mark.parametrize("killed_in", ["long run", "cool-down"])
def test_a_series_that_was_killed_goes_on_and_ends_bit_for_bit_as_if_never_killed(
    series, mixture, student, stable, tmp_path, killed_in
):
    _, (_, whole) = series
    often = stable.model_copy(update={"save_every": 0.0})
    last = place(tmp_path, 1.0)
    steps = course(stable, mixture.counts["sequences"], SHARES, 1.0)
    # While a checkpoint is written: each step of this run writes one.
    folder, at = {
        "long run": (f"long_run/{steps.leaves}", 5),
        "cool-down": ("1", steps.leaves + 3),
    }[killed_in]
    arguments = [
        str(mixture.path),
        student,
        str(tmp_path / "1"),
        often.model_dump_json(),
        last.model_dump_json(),
    ]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments]) as process:
        try:
            while not (tmp_path / folder / f"checkpoint-{at}").exists():
                assert process.poll() is None, "training ended before it could be killed"
                time.sleep(0.001)
        finally:
            process.kill()
    assert store.load(tmp_path / "1") is None
    said = Said()
    resumed = train(mixture, student, stable, tmp_path / "1", seed=0, progress=said, place=last)
    assert any("going on from checkpoint-" in line for line in said.lines)
    assert weights(resumed.path) == weights(whole.path)
    assert rows(resumed.path) == rows(whole.path)
    assert loop.METRICS in {path.name for path in resumed.path.iterdir()}


def test_courses_share_their_warm_up_and_end_where_their_budgets_do():
    settings = TrainingSettings(epochs=1, schedule="wsd", batch_sequences=4, warmup=0.1, decay=0.2)
    shares = (1 / 16, 1 / 4, 1.0)
    small, middle, large = (course(settings, 3200, shares, share) for share in shares)
    assert small == Course(steps=50, warmup=5, decay=10)
    assert middle == Course(steps=200, warmup=5, decay=40)
    assert large == Course(steps=800, warmup=5, decay=160)
    assert large.long_run() == Course(steps=640, warmup=5, decay=0)


def test_budgets_of_too_few_steps_are_refused_with_their_steps():
    settings = TrainingSettings(epochs=1, schedule="wsd", batch_sequences=4)
    with pytest.raises(UserError, match=r"the mixture has 10 steps, too few .* 1, 5, 10"):
        course(settings, 40, (1 / 16, 1 / 2, 1.0), 1.0)
