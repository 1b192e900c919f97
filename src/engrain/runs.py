"""Where a run keeps its students.

Knows folders and records; knows nothing of what is done with a student.
"""

from __future__ import annotations

from pathlib import Path

from engrain.errors import UserError
from engrain.store import Artifact, load

CHECKPOINTS = "checkpoint"
"""In the run's folder: one trained student for each budget, under the budget's label."""


def checkpoint(run: Path, label: str | None) -> Artifact:
    """The student of a budget; without a label the one that read the most tokens.

    Raises UserError where there is none.
    """
    found = {path.name: load(path) for path in sorted((run / CHECKPOINTS).glob("*"))}
    finished = {name: made for name, made in found.items() if made and made.stage == "train"}
    if not finished:
        raise UserError(
            f"no trained student in {str(run)!r}; run: engrain train RECIPE --out {run}"
        )
    if label is None:
        return max(finished.values(), key=lambda made: made.counts["tokens"])
    if label not in finished:
        raise UserError(
            f"no student of budget {label!r} in {str(run)!r}; there are {', '.join(finished)}"
        )
    return finished[label]
