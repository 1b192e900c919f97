"""Trainings that are lost stop early and say why; what may be lost is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from engrain import models
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.store import Artifact
from engrain.testbed import student as shipped
from engrain.testbed.world import build
from engrain.train.run import train
from engrain.train.settings import LoraSettings, TrainingSettings


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_learning_rate_that_changes_nothing_stops_the_training_early(
    lora, mixture, student, settings, tmp_path
):
    tiny = settings.model_copy(update={"learning_rate": 1e-15, "lora": lora})
    with pytest.raises(UserError, match=r"3 steps .* changed 0.0% .*raise training.learning_rate"):
        train(mixture, student, tiny, tmp_path, seed=0, progress=Silent())
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(written) == 3, "the step that showed it is not written down"


def test_the_papers_learning_rate_changes_enough(mixture, student, settings, tmp_path):
    small = settings.model_copy(update={"learning_rate": 1e-7, "epochs": 1})
    train(mixture, student, small, tmp_path, seed=0, progress=Silent())


@pytest.fixture
def library(tmp_path: Path) -> Artifact:
    """Texts of a fictional world, packed for the shipped student."""
    tokenizer = AutoTokenizer.from_pretrained(shipped.path())
    texts = [document.text for document in build(seed=1, split="target", documents=8).documents]
    ids = np.concatenate([tokenizer(text)["input_ids"] for text in texts])
    rows = ids[: len(ids) // 128 * 128].reshape(-1, 128).astype(np.int32)
    table = pa.table(
        {
            "input_ids": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), 128),
            "length": pa.array([128] * len(rows), pa.int32()),
            "unlearned": pa.array([[]] * len(rows), pa.list_(pa.int32())),
        }
    )
    folder = tmp_path / "library"
    folder.mkdir()
    with (
        pa.OSFile(str(folder / "sequences.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)
    return Artifact(
        path=folder,
        stage="mix",
        fingerprint="0",
        settings={"tokenizer": models.tokenizer_identity(str(shipped.path()))},
        inputs={},
        counts={"sequence_length": 128},
    )


class Listening(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def warned(self) -> list[str]:
        return [line for line in self.lines if "worse than one that guesses" in line]


def test_a_tokenizer_of_another_student_is_told_at_the_first_step(library, tmp_path):
    """Every token has the embedding of another, as where a tokenizer numbers them otherwise."""
    settings = TrainingSettings(sequence_length=128, batch_sequences=4, epochs=1)
    other = Path(shutil.copytree(shipped.path(), tmp_path / "other"))
    weights = load_file(other / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].roll(1, 0)
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    progress = Listening()
    train(library, str(other), settings, tmp_path / "out", seed=0, progress=progress)
    (line,) = progress.warned()
    assert "guessing 7.7): look at first_batch.txt" in line
    progress = Listening()
    train(library, str(shipped.path()), settings, tmp_path / "own", seed=0, progress=progress)
    assert progress.warned() == []


def test_a_student_of_random_weights_may_be_trained(trained, settings):
    first = json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert first == pytest.approx(torch.tensor(45.0).log().item(), abs=0.5)
