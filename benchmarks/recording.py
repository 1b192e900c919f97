"""How a benchmark reports: a table on the terminal, and `results/NAME.json`.

A figure has a value, a unit, n, an interval where it has one, and the bar it is held to where it
has one.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number; `value` is None where the measurement failed."""

    name: str
    value: float | None
    unit: str
    n: int
    low: float | None = None
    high: float | None = None
    bar: float | None = None
    """What it must reach (with `at_most`: what it must not pass); None: it is only reported."""
    at_most: bool = False

    @property
    def holds(self) -> bool | None:
        """Whether the bar is met; None where there is no bar."""
        if self.bar is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def show(figures: list[Figure]) -> None:
    """Print the table."""
    for figure in figures:
        interval = "" if figure.low is None else f"  [{figure.low:.3f}, {figure.high:.3f}]"
        sign = "<=" if figure.at_most else ">="
        bar = (
            ""
            if figure.bar is None
            else f"  bar {sign} {figure.bar:g}: {'holds' if figure.holds else 'MISSED'}"
        )
        value = "failed" if figure.value is None else f"{figure.value:.3f}"
        print(f"{figure.name:48s} {value:>10s} {figure.unit:12s} n={figure.n}{interval}{bar}")


def report(name: str, figures: list[Figure], *, part: str = "") -> int:
    """Print the table, write the file; return the exit status: 1 where a bar is missed.

    `part` is added to the file's name, where only a part of the benchmark ran.
    """
    show(figures)
    rows = {}
    for figure in figures:
        row = asdict(figure) | {"holds": figure.holds}
        rows[row.pop("name")] = row
    RESULTS.mkdir(exist_ok=True)
    result = {
        "command": f"make bench NAME={name}"
        + (f" ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else ""),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}",
        "figures": rows,
    }
    (RESULTS / f"{name}{part}.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if all(figure.holds is not False for figure in figures) else 1
