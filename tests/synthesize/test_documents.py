"""A document that comes, changes or goes costs its own texts only, and leaves nothing behind."""

from __future__ import annotations

import random

import pytest

from engrain import artifacts
from engrain.backends.base import Reply, Request
from engrain.backends.scripted import ScriptedBackend
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import made_from, prune, requests


@pytest.fixture
def corpus_of(tmp_path):
    """Makes a corpus of these texts, by their ids."""

    def make(texts: dict[str, str]) -> Artifact:
        def build(folder):
            rows = [
                Document(id=name, title=name, source=f"{name}.txt", text=text, sha256="")
                for name, text in texts.items()
            ]
            write_rows(folder / artifacts.DOCUMENTS, Document, rows)
            write_rows(folder / artifacts.QUESTIONS, Question, [])
            return {}

        return run_stage(
            tmp_path / "corpus",
            stage="corpus",
            settings={"texts": texts},
            inputs={},
            build=build,
            say=lambda line: None,
        )

    return make


def text(name: str, count: int = 120) -> str:
    generator = random.Random(name)
    return " ".join(f"{name}{generator.randrange(1000)}" for _ in range(count))


TEXTS = {name: text(name) for name in ("alpha", "beta", "gamma", "delta")}


@pytest.fixture
def run(corpus_of, writer, tmp_path):
    """Writes about these texts; replies name the document. Returns artifact and generator."""

    def script(request: Request) -> Reply:
        reply = writer._script(request)
        marked = reply.text.replace("word", f"{request.lineage.document_id}-")
        return Reply(text=marked, finish_reason="stop", usage=reply.usage)

    def go(texts, tokens=30_000):
        backend = ScriptedBackend(script)
        made = synthesize(
            corpus_of(texts),
            backend,
            SynthesisSettings(budget={"tokens": tokens}),
            tmp_path / "out",
            seed=0,
            concurrency=8,
            progress=Silent(),
        )
        return made, backend

    return go


def about(backend) -> set[str]:
    return {request.lineage.document_id for request in backend.requests}


def test_an_added_document_is_the_only_one_asked_about(run):
    run(TEXTS)
    _, backend = run(TEXTS | {"new": text("new")})
    assert about(backend) == {"new"}


def test_a_changed_document_is_asked_about_anew_and_the_others_keep_their_replies(run):
    before, _ = run(TEXTS)
    kept = {row.id for row in artifacts.texts(before) if row.document_id != "beta"}
    made, backend = run(TEXTS | {"beta": text("other").replace("other", "beta")})
    own = [request for request in backend.requests if request.lineage.document_id == "beta"]
    # The sum of tokens is fixed, so the others may be asked for a few texts more than before.
    assert len(backend.requests) - len(own) <= 0.02 * made.counts["requests"]
    again = {row.id for row in artifacts.texts(made) if row.document_id != "beta"}
    assert len(kept & again) >= 0.98 * len(kept)
    assert not any(TEXTS["beta"][:40] in asked.prompt for asked in requests(made))


def test_nothing_is_left_of_a_removed_document_and_pruning_empties_the_ledger_of_it(run):
    first, _ = run(TEXTS)
    assert any(True for _ in made_from(first, "beta"))
    ids = {asked.request_id for asked in requests(first)}
    rest = {name: value for name, value in TEXTS.items() if name != "beta"}
    made, backend = run(rest)
    assert "beta" not in about(backend)
    assert not ids & {request.identity(backend.model) for request in backend.requests}
    assert list(made_from(made, "beta")) == []
    for folder in ("kept", "rejected", "requests"):
        for path in (made.path / folder).glob("*.parquet"):
            assert not any("beta" in str(row) for row in _rows(path)), path

    # What was paid for stays until it is asked to go.
    ledger = made.path / "ledger.sqlite"
    assert b"beta-" in ledger.read_bytes()
    assert prune(made) > 0
    held = b"".join(path.read_bytes() for path in made.path.glob("ledger.sqlite*"))
    assert b"beta-" not in held
    assert b"alpha-" in held
    (made.path / "record.json").unlink()
    again, backend = run(rest)
    assert backend.requests == []
    assert again.counts["texts_fingerprint"] == made.counts["texts_fingerprint"]


def _rows(path):
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()
