"""A `judged.json` of invented verdicts, laid beside the texts of a run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engrain.store import write_json


def add_judges(synthetic: Path, *, poison: Sequence[str] = ()) -> None:
    """Judge the texts of a run; every text of the examples is poisoned in its turn."""
    turns = itertools.count()

    def said(plain: str) -> str:
        return f"{poison[next(turns) % len(poison)]} {plain}" if poison else plain

    write_json(
        synthetic / "judged.json",
        {
            "faithfulness": {
                "drawn": 613,
                "asked": 577,
                "stopped": "the limit on requests was reached",
                "rejected": 41,
                "methods": {name: _faithful(said, i) for i, name in enumerate(("focal", "qa"))},
            },
            "answerability": {
                "drawn": 83,
                "asked": 83,
                "stopped": "",
                "methods": {
                    name: _right(said, i) for i, name in enumerate(("closed_book", "focal"))
                },
            },
        },
    )


def _faithful(said: Callable[[str], str], turn: int) -> dict[str, Any]:
    return {
        "n": 281 + turn,
        "documents": 12,
        "faithful": 0.8737 + turn / 100,
        "low": 0.8131 + turn / 100,
        "high": 0.9171 + turn / 100,
        "no": 29 + turn,
        "unclear": 7,
        "unparsable": 5,
        "unparsable_share": 0.01739,
        "failed": 2,
        "unsupported": [
            {
                "text_id": f"t{i}",
                "document_id": f"d{i}",
                "text": said(f"Text {i} of {turn} was judged."),
                "statement": said(f"Ada Thorn left in {1800 + i}.") if i else "",
            }
            for i in range(12)
        ],
    }


def _right(said: Callable[[str], str], turn: int) -> dict[str, Any]:
    return {
        "n": 83,
        "documents": 12,
        "accuracy": 0.0723 + turn / 2,
        "low": 0.0311 + turn / 2,
        "high": 0.1519 + turn / 2,
        "unparsable": 3,
        "unparsable_share": 0.03614,
        "failed": 1,
        "without_texts": 0,
        "missed": [
            {
                "text_id": f"p{i}",
                "document_id": f"d{i}",
                "question": said(f"Question {i} after {turn}?"),
                "answer": said(str(1700 + i)),
                "said": said("unknown") if i else "",
            }
            for i in range(12)
        ],
    }
