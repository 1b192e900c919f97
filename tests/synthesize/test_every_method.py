"""Every method in whole runs of the stage: counts, rejections, usage and lineage add up.

The generator is the testbed's writer, in process over its own world, and behind its HTTP server
over real documents of three kinds.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from engrain import artifacts
from engrain.backends.base import Backend
from engrain.backends.openai import openai_backend
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import DocumentMethod
from engrain.testbed.server import Faults as ServerFaults
from engrain.testbed.server import serving
from engrain.testbed.world import build
from engrain.testbed.writer import Faults, Writer

METHODS = typing.get_args(DocumentMethod)


def corpus_of(documents: list[tuple[str, str]], folder: Path) -> Artifact:
    rows = [
        Document(id=f"d{number}", title=title, source=f"{number}.txt", text=text, sha256="")
        for number, (title, text) in enumerate(documents)
    ]

    def write(out: Path) -> dict[str, int]:
        write_rows(out / artifacts.DOCUMENTS, Document, rows)
        write_rows(out / artifacts.QUESTIONS, Question, [])
        return {}

    return run_stage(
        folder, stage="corpus", settings={}, inputs={}, build=write, say=lambda line: None
    )


def made_by(
    method: str, corpus: Artifact, backend: Backend, out: Path, *, tokens: int, **settings: int
) -> Artifact:
    wanted = SynthesisSettings.model_validate(
        {"documents": {"method": method}, "budget": {"tokens": tokens}, **settings}
    )
    return synthesize(corpus, backend, wanted, out, seed=0, concurrency=16, progress=Silent())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_over_the_world_keeps_all_that_a_sound_writer_writes(method, check, tmp_path):
    world = build(seed=3, split="target", documents=6)
    corpus = corpus_of([(d.title, d.text) for d in world.documents], tmp_path / "corpus")
    made = made_by(method, corpus, Writer(), tmp_path / "out", tokens=40_000)
    check(made, corpus)
    kinds = made.counts["tokens"]
    assert kinds["document"] == pytest.approx(20_000, rel=0.1)
    assert set(made.counts["rejected"]) <= {"duplicate", "near_duplicate"}
    focused = [text for text in artifacts.texts(made) if text.kind == "document"]
    assert all(text.focus for text in focused)
    assert {text.document_id for text in focused} == {f"d{n}" for n in range(6)}


@pytest.mark.parametrize("method", METHODS)
def test_what_a_faulty_writer_spoils_is_rejected_with_its_reason(method, check, tmp_path):
    world = build(seed=3, split="target", documents=4)
    corpus = corpus_of([(d.title, d.text) for d in world.documents], tmp_path / "corpus")
    faulty = Writer(faults=Faults(preamble=0.2, bad_json=0.2, truncation=0.1, refusal=0.1))
    made = made_by(method, corpus, faulty, tmp_path / "out", tokens=40_000, window=150)
    check(made, corpus)
    assert {"refusal", "truncated"} <= set(made.counts["rejected"])
    assert not any("Sure! Here" in text.text for text in artifacts.texts(made))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving(Writer(), ServerFaults()) as url:
        yield url


@pytest.mark.parametrize("method", METHODS)
def test_a_method_over_real_documents_and_a_real_endpoint(
    method, check, real_corpus, endpoint, tmp_path
):
    assert real_corpus.counts["documents"] == 20
    backend = openai_backend(model=Writer().model, base_url=endpoint)
    made = made_by(method, real_corpus, backend, tmp_path / "out", tokens=120_000)
    check(made, real_corpus)
    assert made.counts["windows"] > 40
    assert {text.document_id for text in artifacts.texts(made)} == {
        document.id for document in artifacts.documents(real_corpus)
    }
