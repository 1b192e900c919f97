"""Several processes train as one does: real processes, gloo, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engrain.progress import Silent
from engrain.train.run import train


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("sharding", ["none", "fsdp2"])
def test_two_processes_train_as_one_does(mixture, student, settings, tmp_path, sharding):
    exact = settings.model_copy(update={"precision": "fp32"})
    two = exact.model_copy(update={"processes": 2, "sharding": sharding})
    alone = train(mixture, student, exact, tmp_path / "one", seed=0, progress=Silent())
    shared = train(mixture, student, two, tmp_path / "two", seed=0, progress=Silent())
    for row, expected in zip(metrics(shared.path), metrics(alone.path), strict=True):
        for name in ("loss", "gradient_norm"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4)
        for name in ("step", "tokens", "learning_rate"):
            assert row[name] == expected[name]
    ours, theirs = (load_file(run.path / "model.safetensors") for run in (shared, alone))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], rtol=1e-3, atol=1e-5)
    assert shared.fingerprint == alone.fingerprint
