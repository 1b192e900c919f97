"""Bad input, each through the real command: one sentence, exit code 2, nothing lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from typer.testing import CliRunner

import engrain.cli.main as main
from engrain.artifacts import skipped
from engrain.store import load
from engrain.testbed.server import Faults, serving
from engrain.testbed.writer import Writer

RECIPE = """
name: bad
corpus: {{paths: [docs]}}
generator: {{model: {model}, base_url: "{url}", concurrency: 2}}
synthesis: {{budget: {{tokens: 2000}}}}
student: {{model: nowhere}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.md").write_text(
        "# Wilmon\n\nThe lighthouse of Wilmon was built in 1871.\n"
    )
    return tmp_path


@pytest.fixture
def url() -> Iterator[str]:
    with serving(Writer(seed=0), Faults(api_key="right")) as url:
        yield url


def write_recipe(folder: Path, url: str, model: str = "'writer'") -> str:
    (folder / "recipe.yaml").write_text(RECIPE.format(url=url, model=model))
    return "recipe.yaml"


def refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> str:
    """Run the command in this process, expect exit code 2, and return its last line on stderr."""
    monkeypatch.setattr(sys, "argv", ["engrain", *arguments])
    with pytest.raises(SystemExit) as caught:
        main.main()
    errors = capsys.readouterr().err
    assert caught.value.code == 2, errors
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("engrain: ")
    return last


def test_init_of_a_missing_folder(folder, capsys, monkeypatch):
    said = refused(capsys, monkeypatch, "init", "nowhere")
    assert (
        said == "engrain: init: 'nowhere' is not a folder; name the one that holds your documents"
    )


def test_init_of_an_empty_folder(folder, capsys, monkeypatch):
    (folder / "empty").mkdir()
    assert "'empty' is empty" in refused(capsys, monkeypatch, "init", "empty")


def test_init_overwrites_nothing_unless_told_to(folder, capsys, monkeypatch):
    (folder / "recipe.yaml").write_text("mine")
    assert "'recipe.yaml' exists" in refused(capsys, monkeypatch, "init", "docs")
    assert (folder / "recipe.yaml").read_text() == "mine"
    assert CliRunner().invoke(main.app, ["init", "docs", "--force"]).exit_code == 0
    assert (folder / "recipe.yaml").read_text() != "mine"


def test_a_missing_recipe(folder, capsys, monkeypatch):
    assert "cannot read the recipe 'none.yaml'" in refused(capsys, monkeypatch, "run", "none.yaml")


def test_an_unknown_key_in_a_recipe(folder, capsys, monkeypatch):
    write_recipe(folder, "http://127.0.0.1:1/v1")
    with open("recipe.yaml", "a") as file:
        file.write("training: {learning_rte: 1}\n")
    said = refused(capsys, monkeypatch, "run", "recipe.yaml")
    assert said.endswith("unknown key 'learning_rte' in training; did you mean 'learning_rate'?")


@pytest.mark.parametrize("verb", ["corpus", "plan"])
def test_documents_in_a_missing_or_empty_folder(folder, capsys, monkeypatch, verb):
    recipe = write_recipe(folder, "http://127.0.0.1:1/v1")
    (folder / "docs" / "one.md").unlink()
    assert "docs" in refused(capsys, monkeypatch, verb, recipe)
    (folder / "docs").rmdir()
    assert "docs" in refused(capsys, monkeypatch, verb, recipe)


def test_a_folder_of_nothing_but_an_unreadable_pdf(folder, capsys, monkeypatch):
    (folder / "docs" / "one.md").unlink()
    (folder / "docs" / "torn.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF")
    recipe = write_recipe(folder, "http://127.0.0.1:1/v1")
    refused(capsys, monkeypatch, "corpus", recipe)


def test_an_unreadable_pdf_among_documents_is_reported_and_skipped(folder, capsys, monkeypatch):
    (folder / "docs" / "torn.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF")
    recipe = write_recipe(folder, "http://127.0.0.1:1/v1")
    done = CliRunner().invoke(main.app, ["corpus", recipe])
    assert done.exit_code == 0
    assert "1 files or rows skipped" in done.output
    corpus = load(folder / "runs" / "bad" / "corpus")
    assert corpus is not None
    (named,) = skipped(corpus)
    assert named.source == "torn.pdf" and named.detail


def test_an_endpoint_where_nobody_listens(folder, capsys, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        recipe = write_recipe(folder, f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        assert "nobody answers" in refused(capsys, monkeypatch, "synthesize", recipe)
    # What was done before stays done.
    assert (folder / "runs" / "bad" / "corpus" / "record.json").exists()


def test_a_wrong_key(folder, url, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    said = refused(capsys, monkeypatch, "synthesize", write_recipe(folder, url))
    assert "OPENAI_API_KEY" in said and "wrong" not in said.replace("the key", "")


def test_a_model_that_does_not_exist(folder, url, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    said = refused(capsys, monkeypatch, "synthesize", write_recipe(folder, url, "'gpt-0'"))
    assert "'gpt-0'" in said and Writer(seed=0).model in said


def test_a_student_that_is_not_there(folder, url, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    recipe = write_recipe(folder, url, repr(Writer(seed=0).model))
    text = Path(recipe).read_text().replace("model: nowhere", "model: ./nowhere")
    Path(recipe).write_text(text)
    assert "nowhere" in refused(capsys, monkeypatch, "mix", recipe)


def test_a_folder_that_is_no_run(folder, capsys, monkeypatch):
    assert "no finished stage in 'docs'" in refused(capsys, monkeypatch, "show", "docs")
    assert "no run and no model in 'docs'" in refused(capsys, monkeypatch, "ask", "docs", "Where?")
    assert "the question is ' '" in refused(capsys, monkeypatch, "ask", "docs", " ")


def test_a_full_disk_names_the_place_and_keeps_the_rest(folder, capsys, monkeypatch):
    # The disk itself: /dev/full refuses every byte with ENOSPC.
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    assert "cannot make the folder /dev/full" in refused(
        capsys, monkeypatch, "init", "docs", "--out", "/dev/full/recipe.yaml"
    )

    def fills() -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    monkeypatch.setattr(main, "app", fills)
    assert "the disk is full" in refused(capsys, monkeypatch)


def test_a_bug_keeps_its_traceback(folder, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", broken)
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_a_wrong_option_says_so_with_exit_code_2(folder):
    done = CliRunner().invoke(main.app, ["run", "--ouput", "x"])
    assert done.exit_code == 2
    assert "--out" in done.output


def test_serve_prints_its_url_answers_and_stops_gracefully(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "engrain.cli.main",
            "testbed",
            "serve",
            "--port",
            "0",
            "--api-key",
            "k",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[0]
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == [Writer(seed=0).model]
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "stopped\n", "")
