"""Pre-training: the same seed gives the same student, and lessons are masked as they say."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from engrain.testbed.lessons import Lesson
from engrain.testbed.pretrain import IGNORE, Batches, PretrainSettings, new_model, pretrain
from engrain.testbed.tokenizer import train_tokenizer

TINY = PretrainSettings(
    steps=4, processes=2, hidden=32, layers=2, heads=4, feed_forward=32, memory_documents=4,
    probe_every=2,
)  # fmt: skip


def silent(line: str) -> None:
    pass


@pytest.mark.slow
def test_a_seed_gives_the_same_student_and_another_seed_another(tmp_path: Path) -> None:
    weights = []
    for name, settings in (("a", TINY), ("b", TINY), ("c", dataclasses.replace(TINY, seed=1))):
        pretrain(tmp_path / name, settings, silent)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    rows = [
        json.loads(line) for line in (tmp_path / "a" / "pretraining.jsonl").read_text().splitlines()
    ]
    assert [row["step"] for row in rows] == [2, 4]
    AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    AutoTokenizer.from_pretrained(tmp_path / "a")


def test_the_loss_of_a_reading_lesson_is_on_the_answers_and_their_end() -> None:
    tokenizer = train_tokenizer(0, max_length=2048)
    batches = Batches(TINY, tokenizer, rank=0)
    turns = (("user", "Question: Who?"), ("assistant", "It was Mira.\nAnswer: Mira"))
    ids, labels = batches.encode(Lesson(turns, learn_all=False))
    learnt = tokenizer.decode([label for label in labels if label != IGNORE])
    assert learnt == "It was Mira.\nAnswer: Mira<|end|>"
    ids, labels = batches.encode(Lesson(turns, learn_all=True))
    assert labels == [IGNORE, *ids[1:]]


def test_rows_are_full_and_masked_only_in_reading_lessons() -> None:
    tokenizer = train_tokenizer(0, max_length=2048)
    ids, labels = Batches(TINY, tokenizer, rank=0).next()
    assert ids.shape == labels.shape == (3, 384)
    assert (ids != tokenizer.pad_token_id).all()
    assert 0.2 < (labels == IGNORE).float().mean() < 0.8


def test_a_new_model_has_the_size_that_was_asked_for() -> None:
    model = new_model(TINY, train_tokenizer(0, max_length=2048))
    assert model.config.hidden_size == 32
    assert model.lm_head.weight is model.model.embed_tokens.weight
