from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engrain.errors import UserError
from engrain.testbed import student as shipped
from engrain.train import first_batch
from engrain.train.data import Sequences
from engrain.train.first_batch import check_markers, show


def with_template(student: str, template: str):
    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.chat_template = template
    return tokenizer


def test_what_is_read_first_is_shown_in_short_and_written_in_full(
    mixture, student, tmp_path, monkeypatch
):
    monkeypatch.setattr(first_batch, "_EXCERPT", 20)
    said: list[str] = []
    path = tmp_path / "first_batch.txt"
    show(path, Sequences(mixture.path), AutoTokenizer.from_pretrained(student), said.append)
    assert path.read_text().count("--- sequence") == 4
    assert "<user> ba be </s> <assistant>" in path.read_text()
    assert said == ["train: reads first '<user> ba be </s> <a'... (first_batch.txt)"]


def test_unknown_tokens_are_told(mixture, student, tmp_path):
    said: list[str] = []
    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.unk_token = "ba"
    show(tmp_path / "first_batch.txt", Sequences(mixture.path), tokenizer, said.append)
    assert "of these tokens are unknown to the student's tokenizer ('ba')" in said[1]


TURNS = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}"


def test_a_template_whose_markers_the_tokenizer_does_not_know_is_refused(student):
    with pytest.raises(UserError, match=r"writes '<\|im_start\|>', which its tokenizer does not"):
        check_markers(with_template(student, TURNS), "s", print)


def test_markers_that_are_cut_into_ordinary_tokens_are_told():
    said: list[str] = []
    check_markers(with_template(str(shipped.path()), TURNS), "s", said.append)
    assert len(said) == 2
    assert "'<|im_start|>', which the tokenizer cuts into" in said[0]


def test_a_template_that_belongs_to_its_tokenizer_is_not_spoken_of(student):
    said: list[str] = []
    for name in (student, str(shipped.path())):
        check_markers(AutoTokenizer.from_pretrained(name), name, said.append)
    assert not said


def test_a_student_with_the_template_of_another_is_refused_before_it_is_trained(
    mixture, student, settings, tmp_path
):
    from engrain import models
    from engrain.progress import Silent
    from engrain.store import Artifact
    from engrain.train.run import train

    other = Path(shutil.copytree(student, tmp_path / "other"))
    (other / "chat_template.jinja").write_text(TURNS)
    record = {**mixture.settings, "tokenizer": models.tokenizer_identity(str(other))}
    mixed = Artifact(
        path=mixture.path,
        stage="mix",
        fingerprint=mixture.fingerprint,
        settings=record,
        inputs=mixture.inputs,
        counts=mixture.counts,
    )
    assert json.dumps(record)
    with pytest.raises(UserError, match="the template and the tokenizer of one model"):
        train(mixed, str(other), settings, tmp_path / "out", seed=0, progress=Silent())
