"""The command line under torchrun: one process runs the pipeline, the others train with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name: small
corpus: {paths: [world/documents]}
questions: {path: world/questions.jsonl}
generator: {backend: testbed, strength: strong}
synthesis: {budget: {tokens: 30k}}
mixture: {replay: null}
student: {model: testbed}
training:
  learning_rate: 1.0e-3
  tokens: 8000
  sequence_length: 256
  batch_sequences: 4
  precision: fp32
"""


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done


def losses(checkpoint: Path) -> list[float]:
    lines = (checkpoint / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does_and_says_everything_once(tmp_path):
    engrain = (sys.executable, "-m", "engrain")
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2")
    ran(tmp_path, *engrain, "testbed", "world", "world", "--documents", "6")
    (tmp_path / "small.yaml").write_text(RECIPE)
    ran(tmp_path, *engrain, "train", "small.yaml", "--out", "alone")
    shared = ran(tmp_path, *torchrun, "-m", "engrain", "train", "small.yaml", "--out", "shared")
    alone_losses = losses(tmp_path / "alone" / "checkpoint" / "1")
    shared_losses = losses(tmp_path / "shared" / "checkpoint" / "1")
    assert shared_losses == pytest.approx(alone_losses, rel=1e-3)
    assert shared.stderr.count("train: reads first") == 1
    record = json.loads((tmp_path / "shared" / "checkpoint" / "1" / "record.json").read_text())
    assert record["counts"]["processes"] == 2
    again = ran(tmp_path, *torchrun, "-m", "engrain", "train", "small.yaml", "--out", "shared")
    assert again.stderr.count("train: already done") == 1
