"""A series of students on one course: which steps are whose. Pure.

One long run reads the largest mixture once, at a constant rate after its warm-up. Every student
leaves it some steps before its own budget is read, and reads on while its rate falls to 0: it has
then read the same beginning of the mixture as if it had been trained alone with the schedule `wsd`,
bit for bit (arXiv 2405.18392). A budget so costs its cool-down and what the long run has not
walked yet. The mixture holds its components in their shares in every stretch, and its texts in the
order in which budgets take them, so its beginning is the smaller budget's mixture but for the few
texts that packing moved across the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engrain.errors import UserError
from engrain.settings import Settings
from engrain.train.settings import TrainingSettings


class Series(Settings):
    """One student's place in a series."""

    shares: tuple[float, ...]
    """Of the mixture, for each student; ascending, the last is 1."""
    share: float
    """This student's."""
    folder: Path
    """Where the long run's checkpoints are kept."""


class Course(Settings):
    """The steps of one training."""

    steps: int
    """Where it ends."""
    warmup: int
    decay: int
    """Steps at its end in which the rate falls to 0; none: the long run itself."""

    @property
    def leaves(self) -> int:
        """The step of the long run at which it leaves it."""
        return self.steps - self.decay

    def schedule(self) -> tuple[str, dict[str, Any]]:
        """Trainer's name and details of it."""
        if not self.decay:
            return "constant_with_warmup", {}
        return "warmup_stable_decay", {"num_decay_steps": self.decay, "decay_type": "1-sqrt"}

    def long_run(self) -> Course:
        """The long run up to where this training leaves it."""
        return Course(steps=self.leaves, warmup=self.warmup, decay=0)


def course(
    settings: TrainingSettings, sequences: int, shares: Sequence[float], at: float
) -> Course:
    """The course of the student at share `at` of a mixture of so many sequences.

    All warm up as long as the smallest would alone. Raises UserError where two would end at the
    same step.
    """
    in_epoch = -(-sequences // settings.batch_sequences)
    ends = [round(share * in_epoch) for share in shares]
    if ends[0] < 2 or len(set(ends)) < len(ends):
        raise UserError(
            f"the mixture has {in_epoch} steps, too few to tell {len(shares)} budgets apart (they "
            f"end at the steps {', '.join(map(str, ends))}); give larger or fewer scaling.budgets, "
            "or a smaller training.batch_sequences"
        )
    steps = round(at * in_epoch)
    warmup = min(math.ceil(settings.warmup * ends[0]), ends[0] - _decay(settings, ends[0]))
    return Course(steps=steps, warmup=warmup, decay=_decay(settings, steps))


def _decay(settings: TrainingSettings, steps: int) -> int:
    return max(1, round(settings.decay * steps))
