"""Every method in whole runs of the stage: counts, rejections, usage and lineage add up.

The generator is the testbed's writer, in process over its own world, and behind its HTTP server
over real documents of three kinds.
"""

from __future__ import annotations

import json
import shutil
import typing
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from engrain import artifacts
from engrain.backends.base import Backend
from engrain.backends.openai import openai_backend
from engrain.corpus.run import corpus as read_corpus
from engrain.corpus.settings import CorpusSettings
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize
from engrain.synthesize.settings import DocumentMethod
from engrain.synthesize.trace import requests, trace
from engrain.testbed.server import Faults as ServerFaults
from engrain.testbed.server import serving
from engrain.testbed.world import build
from engrain.testbed.writer import Faults, Writer

METHODS = typing.get_args(DocumentMethod)
PREPARATIONS = {"strategies", "entities"}


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


def check(made: Artifact, corpus: Artifact) -> None:
    """Every request is accounted for, and every text leads back to what it was made from."""
    asked = {row.request_id: row for row in requests(made)}
    assert len(asked) == made.counts["requests"]
    usage = json.loads((made.path / "usage.json").read_text())
    for field in ("prompt_tokens", "completion_tokens", "cached_prompt_tokens"):
        assert usage[field] == sum(getattr(row, field) for row in asked.values())
    kept, rejected = list(artifacts.texts(made)), list(artifacts.rejected(made))
    assert usage["kept_tokens"] == sum(text.tokens for text in kept)
    assert Counter(row.reason for row in rejected) == made.counts["rejected"]
    ended = {text.request_id for text in kept} | {row.request_id for row in rejected}
    assert ended <= asked.keys()
    assert {row.method for key, row in asked.items() if key not in ended} <= PREPARATIONS
    questions = defaultdict(set)
    for text in kept:
        questions[text.document_id].add(text.question)
    documents = {document.id: document for document in artifacts.documents(corpus)}
    assert {row.document_id for row in asked.values()} == documents.keys()
    for text in kept:
        origin = asked[text.request_id]
        assert (text.document_id, text.method) == (origin.document_id, origin.method)
        assert (text.strategy, text.focus) == (origin.strategy, origin.focus)
        assert documents[text.document_id].title[:20] in origin.prompt
        assert text.focus in questions[text.document_id] | {""}
        if text.kind == "document":
            assert text.focus in origin.prompt
    for last in {text.method: text for text in kept}.values():
        traced = trace(made, last.id)
        assert (traced.text, traced.asked) == (last, asked[last.request_id])
        assert traced.sampling["temperature"] == (1.0 if last.kind == "qa" else 0.7)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_over_the_world_keeps_all_that_a_sound_writer_writes(method, tmp_path):
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
def test_what_a_faulty_writer_spoils_is_rejected_with_its_reason(method, tmp_path):
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


@pytest.fixture(scope="module")
def real_corpus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Eight stories of QuALITY, ten articles of SQuAD, two filings of FinanceBench."""
    folder = tmp_path_factory.mktemp("real")
    stories: dict[str, str] = {}
    articles: dict[str, dict[str, bool]] = defaultdict(dict)
    for line in (data / "quality" / "quality_mc4.jsonl").read_text().splitlines():
        row = json.loads(line)
        stories[row["doc_id"]] = row["article"][:12_000]
    for line in (data / "squad" / "squad_val.jsonl").read_text().splitlines():
        row = json.loads(line)
        articles[row["title"]][row["context"]] = True
    texts = list(stories.values())[:8] + ["\n\n".join(a) for a in list(articles.values())[:10]]
    (folder / "documents").mkdir()
    for number, text in enumerate(texts):
        (folder / "documents" / f"text {number}.txt").write_text(text[:12_000])
    for name in ("JOHNSON_JOHNSON_2023_8K_dated-2023-08-30", "ULTABEAUTY_2023Q4_EARNINGS"):
        shutil.copy(data / "financebench" / "pdfs" / f"{name}.pdf", folder / "documents")
    settings = CorpusSettings(paths=(folder / "documents",))
    return read_corpus(settings, None, folder / "corpus", progress=Silent())


@pytest.mark.parametrize("method", METHODS)
def test_a_method_over_real_documents_and_a_real_endpoint(method, real_corpus, endpoint, tmp_path):
    assert real_corpus.counts["documents"] == 20
    backend = openai_backend(model=Writer().model, base_url=endpoint)
    made = made_by(method, real_corpus, backend, tmp_path / "out", tokens=120_000)
    check(made, real_corpus)
    assert made.counts["windows"] > 40
    assert {text.document_id for text in artifacts.texts(made)} == {
        document.id for document in artifacts.documents(real_corpus)
    }
