"""Whole runs over real files, with a real server process as generator; slow.

Accuracy means nothing with such generators: what is checked is that every stage completes and that
the report says what its files say.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engrain.evaluate.prompts import SHORT_ANSWER

ENGRAIN = [sys.executable, "-m", "engrain.cli.main"]
FILINGS = ("ULTABEAUTY_2023Q4_EARNINGS", "AMCOR_2023Q4_EARNINGS", "BESTBUY_2024Q2_10Q")
WRITER = "testbed-writer-strong-seed0"
SMALL = """
synthesis: {{budget: {{tokens: 12k}}, qa: {{pairs_per_call: 4}}}}
mixture: {{replay: null}}
student: {{model: testbed}}
training: {{learning_rate: 1.0e-3, epochs: 1, sequence_length: 256, batch_sequences: 4}}
retrieval: {{chunk_characters: 512, keep: 2}}
evaluation: {{max_tokens: 48, oracle_characters: 1000}}
"""


def engrain(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ENGRAIN, *arguments], capture_output=True, text=True, check=False)


def recipe(folder: Path, url: str, corpus: str, model: str = WRITER) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: real\nseed: 0\ncorpus: {corpus}\n"
        f"generator: {{backend: openai, base_url: {url}, model: {model}, concurrency: 8}}\n"
        + SMALL.format()
    )
    return path


def checked(out: Path) -> dict[str, float]:
    """Accuracy by arm, after checking that the page shows what the files say."""
    for stage in ("corpus", "synthetic", "mixture/1", "checkpoint/1", "findings", "report"):
        assert (out / stage / "record.json").is_file(), stage
    arms = json.loads((out / "findings" / "arms.json").read_text())
    page = (out / "report" / "report.html").read_text()
    for arm in arms:
        assert f"{100 * arm['accuracy']:.1f}" in page
    return {arm["arm"]: arm["accuracy"] for arm in arms}


@pytest.mark.slow
def test_three_filings_through_the_testbed_server(data: Path, tmp_path: Path, serving) -> None:
    corpus = tmp_path / "filings"
    (corpus / "pdfs").mkdir(parents=True)
    for name in FILINGS:
        shutil.copy(data / "financebench" / "pdfs" / f"{name}.pdf", corpus / "pdfs")
    with serving(
        tmp_path / "log", *ENGRAIN, "testbed", "serve", "--port", "0", ready=r"http://\S+"
    ) as url:
        path = recipe(tmp_path, url, "{paths: [filings]}")
        done = engrain("run", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert set(checked(tmp_path / "run")) == {"base", "rag", "trained", "trained+rag", "oracle"}
    # No questions were given, so the page must say that synthetic ones were held out.
    assert "held out" in (tmp_path / "run" / "report" / "report.md").read_text()


@pytest.mark.slow
def test_quality_stories_through_the_testbed_server(data: Path, tmp_path: Path, serving) -> None:
    source = data / "quality" / "quality_mc4.jsonl"
    with serving(
        tmp_path / "log", *ENGRAIN, "testbed", "serve", "--port", "0", ready=r"http://\S+"
    ) as url:
        path = recipe(tmp_path, url, f"{{paths: [{source}], format: quality}}")
        done = engrain("run", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    checked(tmp_path / "run")
    arms = json.loads((tmp_path / "run" / "findings" / "arms.json").read_text())
    assert {arm["n"] for arm in arms if arm["arm"] != "oracle"} == {124}


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    engrain("testbed", "world", str(tmp_path / "world"), "--documents", "8")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: killed\nseed: 0\ncorpus: {paths: [world/documents]}\n"
        "questions: {path: world/questions.jsonl}\ngenerator: {backend: testbed}\n" + SMALL.format()
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert engrain("run", str(path), "--out", str(whole)).returncode == 0
    for stage in ("corpus", "synthetic", "mixture/1", "checkpoint/1", "attempts/1", "findings"):
        process = subprocess.Popen(
            [*ENGRAIN, "run", str(path), "--out", str(killed)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and not (killed / stage).is_dir():
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = engrain("run", str(path), "--out", str(killed))
    assert done.returncode == 0, done.stderr

    def fingerprints(out: Path) -> dict[str, str]:
        records = sorted(out.rglob("record.json"))
        return {str(r.relative_to(out)): json.loads(r.read_text())["fingerprint"] for r in records}

    assert fingerprints(killed) == fingerprints(whole)
    for name in ("attempts/1/attempts.parquet", "synthetic/kept/qa.parquet"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert (killed / "findings" / "arms.json").read_text() == (
        whole / "findings" / "arms.json"
    ).read_text()


@pytest.mark.slow
def test_an_export_of_a_real_run_is_served_and_asked_as_it_is(
    tmp_path: Path, serving_model
) -> None:
    """Exported from what the pipeline left, the student answers a server's chat completion with the
    words with which its checkpoint answers here."""
    import openai
    from huggingface_hub import ModelCard, ModelCardData

    engrain("testbed", "world", str(tmp_path / "world"), "--documents", "4")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "name: served\nseed: 0\ncorpus: {paths: [world/documents]}\n"
        "questions: {path: world/questions.jsonl}\ngenerator: {backend: testbed}\n"
        + SMALL.format().replace("12k", "6k")
    )
    run, to = tmp_path / "run", tmp_path / "town-2m"
    assert engrain("analyze", str(path), "--out", str(run)).returncode == 0
    done = engrain("export", str(run), "--to", str(to))
    assert done.returncode == 0, done.stderr
    data = ModelCard.load(to / "README.md").data
    assert isinstance(data, ModelCardData)
    arms = json.loads((run / "findings" / "arms.json").read_text())
    trained = {arm["accuracy"] for arm in arms if arm["budget"]}
    assert data.eval_results is not None
    assert {result.metric_value for result in data.eval_results} == trained
    question = json.loads((tmp_path / "world" / "questions.jsonl").read_text().splitlines()[0])
    asked = engrain("ask", str(run), question["question"])
    assert asked.returncode == 0, asked.stderr
    with (
        serving_model(to, tmp_path / "log") as url,
        openai.OpenAI(base_url=url, api_key="none") as client,
    ):
        reply = client.chat.completions.create(
            model=str(to),
            temperature=0,
            max_tokens=48,
            messages=[
                {"role": "system", "content": SHORT_ANSWER},
                {"role": "user", "content": f"Question: {question['question']}"},
            ],
        )
    assert reply.choices[0].message.content == asked.stdout.strip()


@pytest.mark.slow
def test_transformers_serve_as_the_generator(tmp_path: Path, serving_model) -> None:
    """A real server of a real (tiny) model: its replies are unusable, and the run says so and stops
    or completes; what was asked is recorded either way."""
    from engrain.testbed import student

    engrain("testbed", "world", str(tmp_path / "world"), "--documents", "4")
    with serving_model(student.path(), tmp_path / "log") as url:
        path = tmp_path / "recipe.yaml"
        path.write_text(
            "name: served\nseed: 0\ncorpus: {paths: [world/documents]}\n"
            "questions: {path: world/questions.jsonl}\n"
            f"generator: {{backend: openai, base_url: '{url}', "
            f"model: {student.path()}, concurrency: 1}}\n"
            "synthesis: {qa: {share: 0}, documents: {method: rewrite, focal: false, share: 1, "
            "max_tokens: 400}, budget: {tokens: 2k, requests: 60}}\n"
            "mixture: {qa_to_documents: '0:1', replay: null}\nstudent: {model: testbed}\n"
            "training: {learning_rate: 1.0e-3, epochs: 1, sequence_length: 256, "
            "batch_sequences: 4}\nretrieval: {chunk_characters: 512, keep: 2}\n"
            "evaluation: {form: short_answer, max_tokens: 48}\n"
        )
        done = engrain("run", str(path), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    checked(tmp_path / "run")
    usage = json.loads((tmp_path / "run" / "synthetic" / "usage.json").read_text())
    assert json.dumps(usage).count("completion_tokens")
