"""Every method in a whole run over real documents, with `transformers serve` as generator; slow.

The server is a process of its own and its model a real, tiny one (`served_model.py`), so what it
reports is compared with what is recorded: replies, tokens, failures. It refuses one document.
Some 700 requests, two minutes where there is a free core.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engrain import artifacts
from engrain.backends import endpoint
from engrain.backends.ledger import Ledger
from engrain.backends.openai import openai_backend
from engrain.progress import Silent
from engrain.records import Rejected, SyntheticText
from engrain.store import Artifact
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.base import Asked
from engrain.synthesize.collect import LEDGER
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests

# A request that the server refuses takes the connection with it, and so one that waits there.
ATTEMPTS = 4
CONCURRENCY = 4
LENGTH = 16
PREPARATIONS = {"strategies", "entities"}


def alone(method: str, tokens: int = 400, **settings: str) -> dict[str, Any]:
    """Settings of a document method without questions."""
    own = {"method": method, "share": 1, "focal": False, "max_tokens": LENGTH}
    return {"qa": {"share": 0}, "documents": own | settings, "budget": {"tokens": tokens}}


PAIRS = {"share": 0.5, "max_tokens": LENGTH}
# Tokens for some two texts about each window, pairs for more, as they come several a reply.
RUNS: dict[str, dict[str, Any]] = {
    "qa": {"qa": PAIRS | {"share": 1}, "documents": {"share": 0}, "budget": {"tokens": 600}},
    "rewrite": alone("rewrite"),
    "entigraph": alone("entigraph"),
    "active reading": alone("active_reading"),
    "active reading for a task": alone("active_reading", strategies="task_specific"),
    # Seven forms, each over all documents.
    "spa": alone("spa", tokens=1800),
    "stretched": alone("stretched"),
    "focal": {"qa": PAIRS, "documents": PAIRS | {"method": "rewrite"}, "budget": {"tokens": 1200}},
}


@dataclass(frozen=True)
class Server:
    """A running `transformers serve`."""

    model: Path
    url: str
    log: Path
    unreadable: str
    """The title of the document that it refuses."""

    def answers(self) -> Counter[str]:
        """How many requests it has answered with which status, by its own log."""
        return Counter(re.findall(r'/v1/chat/completions HTTP/1.1" (\d+)', self.log.read_text()))

    def synthesize(self, name: str, corpus: Artifact, out: Path) -> Artifact:
        settings = SynthesisSettings.model_validate({"window": 3000, **RUNS[name]})
        writer = openai_backend(
            model=str(self.model), base_url=self.url, attempts=ATTEMPTS, first_wait=0.01
        )
        return synthesize(
            corpus, writer, settings, out, seed=0, concurrency=CONCURRENCY, progress=Silent()
        )


@dataclass(frozen=True)
class Run:
    """A finished run, and what the server said of it."""

    name: str
    made: Artifact
    bodies: list[Any]
    """Of every good answer, as it came."""
    answers: Counter[str]

    def rows(self, *, failed: bool = False) -> list[Asked]:
        return [row for row in requests(self.made) if bool(row.failure) == failed]

    def usage(self) -> dict[str, Any]:
        return json.loads((self.made.path / "usage.json").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, serving_model) -> Iterator[Server]:
    path = Path(__file__).with_name("served_model.py")
    spec = importlib.util.spec_from_file_location("served_model", path)
    assert spec is not None
    assert spec.loader is not None
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    folder = tmp_path_factory.mktemp("served")
    model.build(folder / "model")
    with serving_model(folder / "model", folder / "log") as url:
        yield Server(folder / "model", url, folder / "log", model.UNREADABLE)


@pytest.fixture(scope="module", params=RUNS)
def run(
    request: pytest.FixtureRequest,
    server: Server,
    real_corpus: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    bodies: list[Any] = []
    read, before = endpoint.read_reply, server.answers()

    def note(body: object) -> Any:
        bodies.append(body)
        return read(body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint, "read_reply", note)
        made = server.synthesize(request.param, real_corpus, tmp_path_factory.mktemp("run") / "out")
    return Run(request.param, made, bodies, server.answers() - before)


@pytest.mark.slow
def test_every_text_leads_back_to_where_it_came_from(run, real_corpus, check):
    assert real_corpus.counts["documents"] == 20
    check(run.made, real_corpus)
    focused = [text for text in artifacts.texts(run.made) if text.focus]
    assert bool(focused) == (run.name == "focal")


@pytest.mark.slow
def test_each_request_has_the_tokens_that_the_server_reported(run, server):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(server.model)
    rows, usage = run.rows(), run.usage()
    assert len(rows) == len(run.bodies) == run.answers["200"]
    said = [body["usage"] for body in run.bodies]
    assert Counter((row.prompt_tokens, row.completion_tokens) for row in rows) == Counter(
        (tokens["prompt_tokens"], tokens["completion_tokens"]) for tokens in said
    )
    # This server tells nothing of its cache.
    cached = [
        (tokens.get("prompt_tokens_details") or {}).get("cached_tokens", 0) for tokens in said
    ]
    assert sum(row.cached_prompt_tokens for row in rows) == sum(cached)
    assert usage["prompt_tokens"] == sum(tokens["prompt_tokens"] for tokens in said)
    assert usage["completion_tokens"] == sum(tokens["completion_tokens"] for tokens in said)
    for row in rows:
        prompt: Any = tokenizer.apply_chat_template([{"role": "user", "content": row.prompt}])
        assert row.prompt_tokens == len(prompt["input_ids"])


@pytest.mark.slow
def test_only_what_is_about_the_refused_document_failed(run, server, real_corpus):
    titles = {document.id: document.title for document in artifacts.documents(real_corpus)}
    rows, failed = run.rows(), run.rows(failed=True)
    assert {titles[row.document_id] for row in failed} == {server.unreadable}
    assert all(f"failed {ATTEMPTS} times" in row.failure for row in failed)
    assert run.made.counts["requests"] == len(rows) + len(failed)
    assert run.made.counts["failures"] == len(failed) == run.made.counts["rejected"]["failed"]
    assert len(failed) <= run.answers["500"] <= ATTEMPTS * len(failed)


@pytest.mark.slow
def test_of_every_reply_each_part_is_kept_or_rejected_with_a_reason(run):
    ends: dict[str, list[SyntheticText | Rejected]] = defaultdict(list)
    for text in artifacts.texts(run.made):
        ends[text.request_id].append(text)
    for refused in artifacts.rejected(run.made):
        ends[refused.request_id].append(refused)
    with Ledger(run.made.path / LEDGER) as ledger:
        replies = {row.request_id: ledger.get(row.request_id) for row in run.rows()}
    written = [body["choices"][0]["message"]["content"] for body in run.bodies]
    assert Counter(reply.text for reply in replies.values() if reply) == Counter(written)
    for row in run.rows():
        reply = replies[row.request_id]
        assert reply is not None
        found = ends[row.request_id]
        kept = [text for text in found if isinstance(text, SyntheticText)]
        if row.method in PREPARATIONS:
            assert not kept
            assert len(found) <= 1
        elif row.method == "qa":
            # Every object of its JSON, and where there is none, the whole reply.
            assert len(found) == max(1, reply.text.count("{"))
        else:
            # Beside a stretched text stand the gaps that it lacks.
            assert len(kept) <= 1 <= len(found) <= 1 + (row.method == "stretched")
            assert len(found) == 2 or all(text.tokens == row.completion_tokens for text in kept)
        assert sum(text.tokens for text in kept) <= row.completion_tokens


@pytest.mark.slow
def test_the_method_keeps_texts_about_most_documents_and_rejects_some(run, server, real_corpus):
    wanted = RUNS[run.name]["budget"]["tokens"]
    kept = list(artifacts.texts(run.made))
    assert sum(text.tokens for text in kept) == pytest.approx(wanted, rel=0.15)
    assert not run.made.counts["stopped"]
    titles = {document.id: document.title for document in artifacts.documents(real_corpus)}
    about = {titles[text.document_id] for text in kept}
    assert len(about) >= 10
    assert server.unreadable not in about
    assert run.made.counts["rejected"].keys() > {"failed"}
    assert all(row.detail for row in artifacts.rejected(run.made))


@pytest.mark.slow
def test_a_second_run_asks_for_nothing_that_was_answered(run, server, real_corpus, tmp_path):
    before = server.answers()
    assert server.synthesize(run.name, real_corpus, run.made.path).path == run.made.path
    assert server.answers() == before
    (tmp_path / "again").mkdir()
    shutil.copy(run.made.path / LEDGER, tmp_path / "again" / LEDGER)
    again = server.synthesize(run.name, real_corpus, tmp_path / "again")
    usage = Run(run.name, again, [], Counter()).usage()
    # While one that failed is asked again, a few that a cap will leave unused may be asked, too.
    new = server.answers() - before
    assert new["500"] >= 1 and set(new) <= {"200", "500"}
    assert new["200"] <= min(usage["unused"]["requests"], CONCURRENCY)
    assert usage["from_ledger"] == len(run.rows())
    files = sorted((run.made.path / artifacts.KEPT).iterdir())
    assert files
    for path in files:
        assert (again.path / artifacts.KEPT / path.name).read_bytes() == path.read_bytes()
    # What failed is asked again, and may fail with another reason.
    assert again.counts["failures"] == run.made.counts["failures"]
    assert unfailed(again) == unfailed(run.made)


def unfailed(made: Artifact) -> list[Rejected]:
    return [row for row in artifacts.rejected(made) if row.reason != "failed"]
