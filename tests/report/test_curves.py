from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engrain.report.curves import read_curves


def student(label: str, tokens: int, losses: list[float], qa: list[float]) -> dict[str, Any]:
    each = tokens / len(losses)
    places = [tokens * i / (len(qa) - 1) for i in range(len(qa))] if qa else []
    return {
        "label": label,
        "budget": tokens,
        "method": "cooldown",
        "steps": len(losses),
        "tokens": tokens,
        "shared_tokens": 0,
        "stretch": 1,
        "trained_on": [{"tokens": each * (i + 1), "loss": loss} for i, loss in enumerate(losses)],
        "ending": losses[-1],
        "held_back": {
            "qa": [{"tokens": at, "loss": loss} for at, loss in zip(places, qa, strict=True)]
        }
        if qa
        else {},
    }


def write(folder: Path, *students: dict[str, Any]) -> Path:
    (folder / "training.json").write_text(json.dumps(students))
    return folder


def test_lines_are_the_largest_students_and_marks_stand_where_each_ended(tmp_path):
    small = student("0.5", 500, [3.0, 2.0], [4.0, 2.5])
    large = student("1", 1000, [3.0, 2.0, 1.5, 1.0], [4.0, 2.0, 1.0])
    curves = read_curves(write(tmp_path, small, large))
    assert curves is not None and curves.largest == "1" and curves.held_back
    trained_on, qa = curves.curves
    assert (trained_on.kind, qa.kind) == ("trained_on", "qa")
    assert trained_on.marks == ()
    # From the left edge (10 %) at 0 tokens to the right (96 %) at 1,000; losses between 1 and 4.
    assert qa.path == "M10.0 0.0L53.0 66.667L96.0 100.0"
    assert qa.marks == ((53.0, 50.0, "0.5"), (96.0, 100.0, "1"))
    assert [label for _, label in curves.y_ticks] == ["1", "2", "3", "4"]
    assert [each.last["qa"] for each in curves.students] == [2.5, 1.0]


def test_without_held_back_texts_the_training_loss_stands_alone(tmp_path):
    curves = read_curves(write(tmp_path, student("1", 100, [2.0, 1.0], [])))
    assert curves is not None and not curves.held_back
    assert [curve.kind for curve in curves.curves] == ["trained_on"]
    assert read_curves(write(tmp_path)) is None


@pytest.mark.parametrize(
    "losses", [[2.0, 2.0], [0.001, 0.0012], [11.9, 0.03], [1e-9, 1e-9], [700.0, 3.0]]
)
def test_every_loss_lies_inside_the_plot_between_few_round_labels(tmp_path, losses):
    curves = read_curves(write(tmp_path, student("1", 100, losses, [])))
    assert curves is not None
    heights = [float(point.split()[1]) for point in curves.curves[0].path[1:].split("L")]
    assert all(0 <= height <= 100 for height in heights)
    labels = [label for _, label in curves.y_ticks]
    assert 2 <= len(labels) <= 8 and len(set(labels)) == len(labels)
    assert all(len(label) <= 5 for label in labels)
