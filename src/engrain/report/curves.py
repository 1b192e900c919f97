"""Loss during training as a chart: `findings/training.json`, in percent of the plot.

The lines are the largest budget's; where the other students ended are marks. Reads and places; the
template draws.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engrain.report.charts import spaced
from engrain.report.formats import quantity

TRAINING_FILE = "training.json"
TRAINED_ON = "trained_on"
KINDS = (TRAINED_ON, "qa", "documents")
"""What is drawn, in this order; the last two where texts were held back."""

_LEFT, _RIGHT = 10.0, 96.0
_LABELS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """One student's training, in numbers; losses in nats per token."""

    label: str
    method: str
    steps: int
    tokens: int
    shared_tokens: int
    """Of these, read by the long run."""
    ending: float
    """On the texts trained on, in the last tenth of the steps."""
    first: Mapping[str, float]
    """On held-back texts before the first step, by kind; none where none were held back."""
    last: Mapping[str, float]
    """And after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line of the chart."""

    kind: str
    path: str
    marks: tuple[tuple[float, float, str], ...]
    """Where the students ended, and their labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The chart, and the table below it."""

    largest: str
    """The label of the student whose lines are drawn."""
    stretch: int
    """Steps over which the loss on texts trained on is averaged."""
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    students: tuple[Learned, ...]

    @property
    def held_back(self) -> bool:
        """Whether texts were held back."""
        return len(self.curves) > 1


def read_curves(findings: Path) -> Curves | None:
    """The chart of the students, smallest first; None where none was trained."""
    rows = json.loads((findings / TRAINING_FILE).read_text(encoding="utf-8"))
    if not rows:
        return None
    students = [_learned(row) for row in rows]
    largest = rows[-1]
    kinds = [kind for kind in KINDS[1:] if all(kind in student.last for student in students)]
    lines = {
        TRAINED_ON: largest[TRAINED_ON],
        **{kind: largest["held_back"][kind] for kind in kinds},
    }
    losses = [point["loss"] for line in lines.values() for point in line]
    losses += [student.last[kind] for student in students for kind in kinds]
    low, high, step = _range(losses)
    most = max(student.tokens for student in students)

    def x(tokens: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * tokens / most, 3)

    def y(loss: float) -> float:
        return round(100 * (high - loss) / (high - low), 3)

    return Curves(
        largest=largest["label"],
        stretch=largest["stretch"],
        curves=tuple(
            Curve(
                kind=kind,
                path="M" + "L".join(f"{x(point['tokens'])} {y(point['loss'])}" for point in line),
                marks=tuple(
                    (x(student.tokens), y(student.last[kind]), student.label)
                    for student in students
                    if kind in kinds
                ),
            )
            for kind, line in lines.items()
        ),
        x_ticks=spaced([(x(most * i / _LABELS), quantity(most * i / _LABELS)) for i in range(6)]),
        y_ticks=tuple(
            (y(low + i * step), f"{low + i * step:g}")
            for i in range(round((high - low) / step) + 1)
        ),
        students=tuple(students),
    )


def _range(losses: Sequence[float]) -> tuple[float, float, float]:
    """Round bounds around the losses, and a round step between them."""
    spread = max(max(losses) - min(losses), 0.1)
    size = 10.0 ** math.floor(math.log10(spread / 4))
    step = next(size * times for times in (1, 2, 5, 10) if spread / (size * times) <= 5)
    low = math.floor(min(losses) / step + 1e-9) * step
    return low, low + max(1, math.ceil((max(losses) - low) / step - 1e-9)) * step, step


def _learned(row: Mapping[str, Any]) -> Learned:
    return Learned(
        **{name: row[name] for name in ("label", "method", "steps", "tokens", "shared_tokens")},
        ending=row["ending"],
        first={kind: read[0]["loss"] for kind, read in row["held_back"].items()},
        last={kind: read[-1]["loss"] for kind, read in row["held_back"].items()},
    )
