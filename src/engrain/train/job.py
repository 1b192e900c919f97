"""One training, as the processes that share it are told of it."""

from __future__ import annotations

from pathlib import Path

from engrain.settings import Settings
from engrain.train.settings import TrainingSettings


class Job(Settings):
    """What every process needs to take part; paths must mean the same to all of them."""

    mixture: Path
    """The mixture's folder."""
    student: str
    settings: TrainingSettings
    directory: Path
    """Becomes the checkpoint."""
    seed: int
    training: str
    """Its identity, for the seals of checkpoints."""
    resume: Path | None
    """The checkpoint from which all of them go on."""
