"""Where the marks of the growth chart stand, in percent of the plot.

Pure geometry: the template draws, the browser scales. Bars need none: a share is a percentage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from engrain.records import ArmName
from engrain.report.formats import quantity

# Two labels of an axis closer than this touch on a phone.
_LABEL_GAP = 13.0
# The labels of the vertical axis stand at the left, inside the plot.
_LEFT, _RIGHT = 10.0, 96.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One accuracy to draw."""

    arm: ArmName
    budget: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One measured point, in percent of the plot."""

    x: float
    y: float
    top: float
    bottom: float
    source: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One arm over the budgets."""

    arm: ArmName
    marks: tuple[Mark, ...]
    path: str
    band: str
    """The intervals, as a closed path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """One arm that does not depend on the budget."""

    arm: ArmName
    y: float
    top: float
    bottom: float
    source: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The growth chart."""

    lines: tuple[Line, ...]
    flats: tuple[Flat, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def growth(measured: Sequence[Measured]) -> Growth | None:
    """The chart of accuracy over budgets; None where no arm was measured at two budgets or more."""
    grown = [point for point in measured if point.budget > 0]
    arms = list(dict.fromkeys(point.arm for point in grown))
    budgets = sorted({point.budget for point in grown})
    if len(budgets) < 2:
        return None
    low, high, step = _range(measured)

    def x(budget: int) -> float:
        # The claim of the method is growth in the logarithm of the tokens (METHOD C2).
        share = math.log(budget / budgets[0]) / math.log(budgets[-1] / budgets[0])
        return round(_LEFT + (_RIGHT - _LEFT) * share, 3)

    def y(value: float) -> float:
        return round(100 * (high - value) / (high - low), 3)

    lines = []
    for arm in arms:
        points = sorted(
            (point for point in grown if point.arm == arm), key=lambda point: point.budget
        )
        marks = tuple(
            Mark(x=x(p.budget), y=y(p.accuracy), top=y(p.high), bottom=y(p.low), source=p)
            for p in points
        )
        lines.append(Line(arm=arm, marks=marks, path=_path(marks), band=_band(marks)))
    flats = tuple(
        Flat(arm=p.arm, y=y(p.accuracy), top=y(p.high), bottom=y(p.low), source=p)
        for p in measured
        if p.budget == 0
    )
    count = round((high - low) / step)
    return Growth(
        lines=tuple(lines),
        flats=flats,
        x_ticks=spaced([(x(budget), quantity(budget)) for budget in budgets]),
        y_ticks=tuple(
            (y(low + i * step), f"{100 * (low + i * step):.0f}%") for i in range(count + 1)
        ),
    )


def _range(measured: Sequence[Measured]) -> tuple[float, float, float]:
    low = math.floor(min(point.low for point in measured) * 10) / 10
    high = math.ceil(max(point.high for point in measured) * 10) / 10
    low, high = max(low, 0.0), min(max(high, low + 0.1), 1.0)
    low = min(low, high - 0.1)
    step = 0.05 if high - low <= 0.25 else 0.1 if high - low <= 0.55 else 0.2
    # Whole steps, so that the axis ends on a label.
    low = math.floor(low / step + 1e-9) * step
    return low, min(low + math.ceil((high - low) / step - 1e-9) * step, 1.0), step


def spaced(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """The ticks whose labels do not touch, from the largest budget down."""
    kept: list[tuple[float, str]] = []
    for tick in reversed(ticks):
        if not kept or kept[-1][0] - tick[0] >= _LABEL_GAP:
            kept.append(tick)
    return tuple(reversed(kept))


def _path(marks: Sequence[Mark]) -> str:
    return "M" + "L".join(f"{mark.x} {mark.y}" for mark in marks)


def _band(marks: Sequence[Mark]) -> str:
    upper = [f"{mark.x} {mark.top}" for mark in marks]
    lower = [f"{mark.x} {mark.bottom}" for mark in reversed(marks)]
    return "M" + "L".join([*upper, *lower]) + "Z"
