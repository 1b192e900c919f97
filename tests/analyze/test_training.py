from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engrain.analyze.training import training_rows
from engrain.store import Artifact, run_stage


def made(folder: Path, stage: str, counts: dict[str, Any], settings: dict[str, Any]) -> Artifact:
    return run_stage(
        folder, stage=stage, settings=settings, inputs={}, build=lambda _: counts, say=print
    )


def checkpoint(root: Path, losses: list[float], readings: list[float]) -> Artifact:
    folder = root / "checkpoint" / "0.5"
    counts = {"method": "cooldown", "steps": len(losses), "tokens": 1000, "shared_tokens": 800}
    done = made(folder, "train", counts, {})
    lines = [{"step": i + 1, "tokens": 10 * (i + 1), "loss": x} for i, x in enumerate(losses)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    if readings:
        rows = [{"step": i, "tokens": 100 * i, "loss": {"qa": x}} for i, x in enumerate(readings)]
        (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return done


def test_a_training_is_told_with_its_budget_its_means_and_its_readings(tmp_path):
    done = checkpoint(tmp_path, [float(n) for n in range(100, 0, -1)], [3.0, 2.0])
    asked = made(tmp_path / "attempts" / "0.5", "evaluate", {}, {"budget": 640})
    (row,) = training_rows([done], [asked])
    assert (row["label"], row["budget"], row["method"]) == ("0.5", 640, "cooldown")
    assert (row["tokens"], row["shared_tokens"], row["stretch"]) == (1000, 800, 2)
    assert len(row["trained_on"]) == 50
    assert row["trained_on"][0] == {"tokens": 20, "loss": 99.5}
    assert row["ending"] == pytest.approx(5.5)
    assert row["held_back"] == {"qa": [{"tokens": 0, "loss": 3.0}, {"tokens": 100, "loss": 2.0}]}


def test_a_student_that_nobody_asked_has_no_budget_and_one_without_readings_none(tmp_path):
    (row,) = training_rows([checkpoint(tmp_path, [1.0], [])], [])
    assert row["budget"] is None and row["held_back"] == {}
    assert row["trained_on"] == [{"tokens": 10, "loss": 1.0}] and row["ending"] == 1.0
