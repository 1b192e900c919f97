"""How each student was trained: steps, tokens, and its losses on the way, from its own files.

Knows the lines of `metrics.jsonl` and `validation.jsonl`. Averages; judges nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engrain.store import Artifact

METRICS = "metrics.jsonl"
VALIDATION = "validation.jsonl"

# Means over so many stretches: the loss of single steps is noise.
_STRETCHES = 80

Row = Mapping[str, Any]


def training_rows(checkpoints: Sequence[Artifact], attempts: Sequence[Artifact]) -> list[Row]:
    """The rows of `training.json`: a student each, smallest budget first.

    Losses are in nats per token. `trained_on` are means over `stretch` steps at the tokens read so
    far, `ending` is the mean of the last tenth of the steps; `held_back` are the readings, by kind.
    `budget` is None where nobody asked the student.
    """
    budgets = {made.path.name: int(made.settings["budget"]) for made in attempts if checkpoints}
    return [_row(made, budgets.get(made.path.name)) for made in checkpoints]


def _row(checkpoint: Artifact, budget: int | None) -> Row:
    counts, rows = checkpoint.counts, _lines(checkpoint.path / METRICS)
    readings = _lines(checkpoint.path / VALIDATION)
    stretch = max(1, -(-len(rows) // _STRETCHES))
    groups = [rows[start : start + stretch] for start in range(0, len(rows), stretch)]
    return {
        "label": checkpoint.path.name,
        "budget": budget,
        "method": counts["method"],
        "steps": counts["steps"],
        "tokens": counts["tokens"],
        "shared_tokens": counts["shared_tokens"],
        "stretch": stretch,
        "trained_on": [
            {"tokens": group[-1]["tokens"], "loss": round(_mean(group), 6)} for group in groups
        ],
        "ending": round(_mean(rows[-max(1, len(rows) // 10) :]), 6),
        "held_back": {
            kind: [
                {"tokens": row["tokens"], "loss": round(row["loss"][kind], 6)} for row in readings
            ]
            for kind in (readings[0]["loss"] if readings else ())
        },
    }


def _mean(rows: Sequence[Row]) -> float:
    return math.fsum(row["loss"] for row in rows) / len(rows)


def _lines(path: Path) -> list[Row]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
