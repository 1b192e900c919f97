"""Evaluation questions and answers stay out of prompts; what overlaps in texts is told."""

from __future__ import annotations

import dataclasses

import pytest

from engrain import artifacts
from engrain.backends.scripted import ScriptedBackend
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.store import run_stage, write_rows
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.leak import LeakGuard, Overlap
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests
from engrain.synthesize.words import words
from engrain.testbed.world import ask, build
from engrain.testbed.writer import STRENGTHS, Writer

LONG = "In which of the two harbour towns did the elder of the sisters open her second bakery?"
ANSWER = "She opened it in the northern one, because the rent there was half of what others asked"
GUARD = LeakGuard([Question(id="q", text=LONG, answer=ANSWER, aliases=("the northern harbour",))])


def run(corpus, backend, out, **settings):
    return synthesize(
        corpus, backend,
        SynthesisSettings.model_validate({"budget": {"tokens": 30_000}} | settings),
        out, seed=0, concurrency=8, progress=Silent(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("Nothing of it.", 0),
        ("", 0),
        ("which of the two harbour towns did", 0),
        ("It is asked which of the two harbour towns did the twins", 8),
        (f"One. {LONG} Two.", 17),
        ("Then she opened it in the NORTHERN one, because of the ice.", 8),
        ("One elder of the sisters open her second bakery", 8),
        ("in the northern one because the rent there was half", 10),
        (f"{LONG[:40]} and {ANSWER}", 17),
    ],
)
def test_the_longest_run_shared_with_a_question_or_answer_is_found_from_eight_words_on(
    text, longest
):
    for place in range(6):
        before = " ".join(["word"] * place)
        assert GUARD.longest(words(f"{before} {text}")) == longest


def test_the_overlap_has_no_figure_where_there_is_nothing_to_measure():
    assert Overlap().as_json() == {
        "texts": 0, "sharing_8_words": 0, "share": None, "longest": None
    }  # fmt: skip


def test_a_stage_tells_how_many_texts_overlap_with_questions_and_how_far(
    make_corpus, writer, tmp_path
):
    def script(request):
        reply = writer._script(request)
        if "Task: apply" in request.messages[0].content and int(request.identity("x"), 16) % 4 == 0:
            return dataclasses.replace(reply, text=f"{' '.join(ANSWER.split()[:9])} {reply.text}")
        return reply

    made = run(make_corpus(questions=[LONG]), ScriptedBackend(script), tmp_path / "none")
    assert made.counts["overlap"]["sharing_8_words"] == 0
    corpus = make_corpus(questions=[LONG, ANSWER])
    made = run(corpus, ScriptedBackend(script), tmp_path / "some")
    texts = list(artifacts.texts(made))
    sharing = sum(text.text.startswith("She opened it") for text in texts)
    judged = len(texts) + sum(made.counts["rejected"].values())
    assert made.counts["overlap"] == {
        "texts": judged,
        "sharing_8_words": sharing,
        "share": round(sharing / judged, 6),
        "longest": 9,
    }
    assert sharing > 10
    assert "leak" not in made.counts["rejected"]


def test_leaks_past_the_limit_fail_the_run_and_name_limit_and_count(make_corpus, writer, tmp_path):
    def script(request):
        reply = writer._script(request)
        leaking = (
            "Task: apply" in request.messages[0].content and int(request.identity("x"), 16) % 2 == 0
        )
        return dataclasses.replace(reply, text=f"{LONG} {reply.text}") if leaking else reply

    with pytest.raises(UserError, match=r"\d+ of \d+ synthetic texts .*synthesis.leak_limit 0.2"):
        run(make_corpus(questions=[LONG]), ScriptedBackend(script), tmp_path / "out",
            leak_limit=0.2, documents={"share": 0.9}, qa={"share": 0.1})  # fmt: skip


def test_nothing_of_an_evaluation_question_is_in_any_prompt(tmp_path):
    """A real world with its questions, each question and answer marked by a word of its own."""
    world = build(seed=2, split="target", documents=8)
    documents = [
        Document(id=f"d{n}", title=made.title, source=f"{n}", text=made.text, sha256="")
        for n, made in enumerate(world.documents)
    ]
    questions = [
        Question(
            id=f"q{n}",
            text=f"{asked.text} Zqquestion{n}",
            answer=f"{asked.answer} Zqanswer{n}",
            options=(f"{asked.answer} Zqanswer{n}", f"Zqoption{n}"),
            aliases=(f"Zqalias{n}",),
            evidence=(asked.facts[0].sentence,),
            kind=f"Zqkind{n}",
        )
        for n, asked in enumerate(ask(world, seed=0, per_document=4))
    ]

    def build_corpus(folder):
        write_rows(folder / "documents.parquet", Document, documents)
        write_rows(folder / "questions.parquet", Question, questions)
        return {}

    corpus = run_stage(
        tmp_path / "corpus", stage="corpus", settings={}, inputs={}, build=build_corpus,
        say=lambda line: None,
    )  # fmt: skip
    for method in ("active_reading", "rewrite"):
        made = run(
            corpus, Writer(strength=STRENGTHS["strong"]), tmp_path / method,
            documents={"method": method},
        )  # fmt: skip
        asked = list(requests(made))
        assert len(asked) > 100
        for request in asked:
            sent = f"{request.prompt} {request.strategy} {request.focus}".casefold()
            assert "zq" not in sent
