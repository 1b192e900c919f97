"""One training, as those who do it are told of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from engrain.settings import Settings
from engrain.train.series import Course
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
    course: Course | None = None
    """Its steps, where the settings alone do not say them."""
    held_back: dict[str, Path] = Field(default_factory=dict)
    """Folders of packed texts that are read during the training, by name."""
    readings: int = 0
    """Steps between two of these readings; 0: none."""

    @property
    def is_long_run(self) -> bool:
        """Whether others go on from its last checkpoint, and nobody asks the student itself."""
        return self.course is not None and not self.course.decay
