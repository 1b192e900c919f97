"""The long run of a series: walked as far as a student needs it, its checkpoints kept.

Each stretch is an artifact, `STEP/` in the run's folder, that holds the sealed `checkpoint-STEP`
and the metrics up to it. A checkpoint is the same wherever the stretches before it ended, so a
stretch starts from the furthest one there is, also after budgets were added.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engrain import store
from engrain.train import checkpoints
from engrain.train.job import Job
from engrain.train.loop import METRICS
from engrain.train.validation import VALIDATION


def reached(
    job: Job,
    folder: Path,
    inputs: Mapping[str, str],
    do: Callable[[Job], Mapping[str, Any]],
    say: Callable[[str], None],
) -> Path:
    """The long run's checkpoint at which this student's job leaves it, made if it is not there.

    `do` does a job that leaves a checkpoint at its end.
    """
    assert job.course is not None
    course = job.course.long_run()
    settings = job.settings.identity()
    del settings["decay"]  # of those who leave it
    same = {**settings, "seed": job.seed, "warmup": course.warmup, "readings": job.readings}
    training = store.fingerprint({"settings": same, "inputs": inputs})

    def build(directory: Path) -> Mapping[str, Any]:
        start = checkpoints.furthest(folder.glob("*/"), training, until=course.steps)
        if start is None or start.parent != directory:
            begin(directory, start)
        stretch = {"directory": directory, "training": training, "resume": start, "course": course}
        return do(job.model_copy(update=stretch))

    stretch = store.run_stage(
        folder / str(course.steps),
        stage="long_run",
        settings={**same, "steps": course.steps},
        inputs=inputs,
        build=build,
        say=say,
    )
    return stretch.path / f"checkpoint-{course.steps}"


def begin(directory: Path, start: Path | None) -> None:
    """Empty a training's folder of others' checkpoints; give it what was measured up to `start`."""
    checkpoints.clear(directory)
    for name in (METRICS, VALIDATION):
        if start is not None and (start.parent / name).exists():
            shutil.copyfile(start.parent / name, directory / name)
