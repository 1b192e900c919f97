"""`engrain trace` on the terminal and for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engrain import artifacts
from engrain.backends.base import Reply, Request, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.cli.main import app
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import Artifact, run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize


def script(request: Request) -> Reply:
    mark = request.identity("x")
    text = f"A text numbered {mark}, with a \x1b[31mred word in it."
    if request.lineage.method == "qa":
        pair = {"question": f"Who is {mark}?", "explanation": "It says so.", "answer": "nobody"}
        text = json.dumps([pair, pair | {"answer": ""}])
    usage = Usage(prompt_tokens=1_500, cached_prompt_tokens=64, completion_tokens=80)
    return Reply(text=text, finish_reason="stop", usage=usage)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that went as far as its synthetic texts, about two documents."""

    def build(folder: Path) -> dict[str, int]:
        rows = [
            Document(id=f"d{n}", title=f"T{n}", source=f"{n}.md", text="A story. " * 40, sha256="")
            for n in range(2)
        ]
        write_rows(folder / artifacts.DOCUMENTS, Document, rows)
        write_rows(folder / artifacts.QUESTIONS, Question, [])
        return {}

    corpus: Artifact = run_stage(
        tmp_path / "corpus",
        stage="corpus",
        settings={},
        inputs={},
        build=build,
        say=lambda line: None,
    )
    synthesize(
        corpus,
        ScriptedBackend(script, model="scribe"),
        SynthesisSettings(budget={"tokens": 2_000}, documents={"method": "rewrite"}),
        tmp_path / "synthetic",
        seed=0,
        concurrency=4,
        progress=Silent(),
    )
    return tmp_path


def output(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["trace", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def a_text(run: Path, kind: str):
    rows = artifacts.texts_in(run / "synthetic")
    return next(text for text in rows if text.kind == kind)


def test_a_text_is_shown_with_all_that_it_came_from(run):
    text = a_text(run, "document")
    shown = output(run, text.id)
    lines = dict(line.split(None, 1) for line in shown.splitlines()[:11])
    assert lines["document"].startswith(f"{text.document_id} (")
    assert lines["strategy"] == text.strategy
    assert lines["focus"] == text.focus
    assert lines["model"] == "scribe"
    assert lines["settings"].startswith("temperature 0.7, top_p 0.95, max_tokens 4096, sample ")
    assert lines["prompt"] == "1,500 tokens, 64 cached"
    assert "== prompt" in shown and "Task: rewrite" in shown
    assert "\x1b" not in shown


def test_a_pair_is_shown_with_what_its_reply_held_besides(run):
    text = a_text(run, "qa")
    assert "== same reply, rejected (answer_missing: no answer)" in output(run, text.id)
    origin = json.loads(output(run / "synthetic", text.id, "--json"))
    assert origin["text"]["id"] == text.id
    assert [row["reason"] for row in origin["rejected"]] == ["answer_missing"]
    assert origin["asked"]["prompt_tokens"] == 1_500


@pytest.mark.parametrize("name", ["d1", "1.md"])
def test_a_document_is_shown_with_everything_made_from_it(run, name):
    rows = [json.loads(line) for line in output(run, "--document", name, "--json").splitlines()]
    assert {row["document_id"] for row in rows} == {"d1"}
    assert {row["sort"] for row in rows} == {"kept", "rejected", "request"}
    lines = output(run, "--document", name).splitlines()
    assert len(lines) == len(rows) + 1
    kept = sum(row["sort"] == "kept" for row in rows)
    assert lines[-1].startswith(f"{kept} texts kept, ")


def test_of_an_unknown_document_nothing_was_made(run):
    assert output(run, "--document", "d9") == "0 texts kept, 0 rejected, 0 requests\n"
    # A name that was mistyped must not look like a document about which nothing was written.
    said = CliRunner().invoke(app, ["trace", str(run), "--document", "d9"]).stderr
    assert said.startswith("engrain: the corpus has no document 'd9'")
    assert not CliRunner().invoke(app, ["trace", str(run), "--document", "d1"]).stderr


def test_pruning_says_how_much_it_deleted(run):
    assert output(run, "--prune") == "0 replies deleted\n"
    assert json.loads(output(run, "--prune", "--json")) == {"deleted": 0}


@pytest.mark.parametrize("arguments", [[], ["an-id", "--prune"], ["--document", "d1", "--prune"]])
def test_one_thing_is_asked_at_a_time(run, arguments):
    with pytest.raises(UserError, match="needs one of"):
        output(run, *arguments)


def test_a_folder_without_synthetic_texts_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished synthesis"):
        output(tmp_path, "an-id")
