"""What a run cost: what generation used, what each mixture holds, what was asked of the readers.

Copies counts from finished artifacts; estimates nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engrain.store import Artifact

USAGE = "usage.json"


def cost(
    synthetic: Artifact, mixtures: Sequence[Artifact], attempts: Sequence[Artifact]
) -> dict[str, Any]:
    """The content of `cost.json`; `generation` is None where no usage was recorded."""
    usage = synthetic.path / USAGE
    return {
        "generation": json.loads(usage.read_text(encoding="utf-8")) if usage.exists() else None,
        "mixtures": [_labelled(mixture) for mixture in mixtures],
        "evaluations": [_labelled(evaluation) for evaluation in attempts],
    }


def _labelled(artifact: Artifact) -> dict[str, Any]:
    return {"label": artifact.path.name, **artifact.counts}
