"""Prompts and parsers, on what language models do."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engrain.backends.base import Reply, Usage
from engrain.synthesize.active_reading import ActiveReading, Strategies
from engrain.synthesize.base import Known, Window
from engrain.synthesize.focal import pair
from engrain.synthesize.qa import QuestionAnswer
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import DocumentSettings, QASettings

WINDOW = Window(
    document_id="d",
    title='The "Harbour"\nof Wilmon',
    number=0,
    text="It stands\n\nby the sea.",
    tokens=6,
)

# A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
QA = QuestionAnswer(QASettings(pairs_per_call=3), seed=0)
ROWS = [
    {"question": "Who bakes in Wilmon?", "explanation": "Ada bakes there.", "answer": "Ada"},
    {"question": "When?", "explanation": "Since {1990}.", "answer": 1990},
]


def reply(text: str, finish_reason="stop") -> Reply:
    return Reply(text=text, finish_reason=finish_reason, usage=Usage())


def prompt(request) -> str:
    (message,) = request.messages
    return str(message.content)


KNOWN = Known(questions=("Who bakes?",), lists=(("Draw a map",),))
PLANNED = {
    "question-answer pairs": QA.plan(WINDOW, KNOWN, 0),
    "rewrite": Rewrite(DocumentSettings(focal=False), seed=0).plan(WINDOW, KNOWN, 0),
    "study strategies": Strategies(DocumentSettings(), seed=0).plan(WINDOW, 0),
    "apply a study strategy": ActiveReading(DocumentSettings(), seed=0).plan(WINDOW, KNOWN, 0),
}


@pytest.mark.parametrize("task", PLANNED)
def test_the_document_stands_first_and_the_task_right_after_it(task):
    head = "<document title=\"The 'Harbour' of Wilmon\">\nIt stands\n\nby the sea.\n</document>\n\n"
    assert prompt(PLANNED[task]).startswith(f"{head}Task: {task}\n")


def test_the_fields_of_a_task_stand_on_lines_of_their_own():
    assert "\nWrite 3 pairs" in prompt(PLANNED["question-answer pairs"])
    assert re.search(r"\nTask: rewrite\nStyle: simple words[^\n]*\n\n", prompt(PLANNED["rewrite"]))
    assert "Focus on" not in prompt(PLANNED["rewrite"])
    applied = prompt(PLANNED["apply a study strategy"])
    assert "strategy\nStrategy: Draw a map\nFocus on the question: Who bakes?\n\n" in applied


def test_requests_about_one_window_are_all_different():
    for method in (
        QA,
        Rewrite(DocumentSettings(), seed=0),
        ActiveReading(DocumentSettings(), seed=0),
    ):
        planned = [method.plan(WINDOW, KNOWN, number) for number in range(50)]
        assert len({request.identity("m") for request in planned}) == 50


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        json.dumps({"pairs": ROWS}),
        f"Sure! Here are they:\n\n```json\n{json.dumps(ROWS, indent=2)}\n```\nNeed more?",
        f"<think>[{{no: json}}]</think>{json.dumps(ROWS)}",
        "\n".join(json.dumps(row) for row in ROWS),
        json.dumps(ROWS).replace('"Ada"}', '"Ada",}'),
        json.dumps(ROWS).replace("Ada bakes there.", "Ada\n bakes there."),
    ],
)
def test_pairs_are_found_in_whatever_a_model_wraps_them(text):
    parsed = QA.parse(reply(text))
    assert [piece.answer for piece in parsed.pieces] == ["Ada", "1990"]
    assert [piece.question for piece in parsed.pieces] == ["Who bakes in Wilmon?", "When?"]
    assert parsed.pieces[1].text == "Since {1990}.\nAnswer: 1990"
    assert not parsed.faults


@patient
@given(st.integers(min_value=0, max_value=len(json.dumps(ROWS)) - 2))
def test_a_reply_cut_anywhere_keeps_its_whole_pairs(end):
    whole = json.dumps(ROWS)
    parsed = QA.parse(reply(whole[:end], "length"))
    assert len(parsed.pieces) == (end >= whole.index("}, {") + 1) + (end >= len(whole) - 1)
    assert {fault.reason for fault in parsed.faults} <= {"truncated"}
    assert parsed.pieces or parsed.faults


def test_a_wrapped_list_that_was_cut_off_is_one_truncated_end():
    parsed = QA.parse(reply(json.dumps({"pairs": ROWS})[:-20], "length"))
    assert len(parsed.pieces) == 1
    assert [fault.reason for fault in parsed.faults] == ["truncated"]


def test_a_pair_without_an_answer_is_rejected_for_that_and_the_others_are_kept():
    broken = [ROWS[0], {"question": "Why?", "explanation": "Because."}, ["not", "a pair"]]
    parsed = QA.parse(reply(json.dumps(broken)))
    assert len(parsed.pieces) == 1
    assert [fault.reason for fault in parsed.faults] == ["answer_missing"]


def test_prose_instead_of_pairs_is_unparsable():
    (fault,) = QA.parse(reply("The harbour is old.")).faults
    assert fault.reason == "unparsable"


@pytest.mark.parametrize(
    "text",
    [
        "## Draw a map\n## Tell it to a friend",
        "Here are some strategies:\n\n### **Draw a map**\n\n### Tell it to a friend ###",
        "1. Draw a map\n2) Tell it to a friend",
        "- Draw   a map\n- Tell it to a friend\n- Draw a map",
    ],
)
def test_strategies_are_found_in_whatever_list_a_model_writes(text):
    found = Strategies(DocumentSettings(), seed=0).parse(reply(text))
    assert found == ("Draw a map", "Tell it to a friend")


def test_prose_holds_no_strategies():
    assert (
        Strategies(DocumentSettings(), seed=0).parse(reply("I would simply read it twice.")) == ()
    )


@pytest.mark.parametrize(
    "text",
    [
        "By the sea it stands.",
        "Sure, here is the rewrite:\n\nBy the sea it stands.",
        "Here's a simple version of it:\nBy the sea it stands.",
        "```text\nBy the sea it stands.\n```",
        "<think>How shall I begin?</think>\n\nBy the sea it stands.",
    ],
)
def test_a_rewrite_is_freed_of_what_a_model_says_around_it(text):
    (piece,) = Rewrite(DocumentSettings(), seed=0).parse(reply(text)).pieces
    assert piece.text == "By the sea it stands."


def test_a_text_that_opens_with_here_is_not_taken_for_a_preamble():
    text = "Here is where Ada was born, in Wilmon.\n\nShe baked."
    (piece,) = Rewrite(DocumentSettings(), seed=0).parse(reply(text)).pieces
    assert piece.text == text


def test_a_rewrite_that_was_cut_off_is_rejected():
    (fault,) = Rewrite(DocumentSettings(), seed=0).parse(reply("By the sea it", "length")).faults
    assert fault.reason == "truncated"


@patient
@given(st.integers(1, 12), st.integers(1, 12))
def test_every_pair_of_strategy_and_question_comes_once_before_any_comes_again(
    strategies, questions
):
    names, asked = [f"s{n}" for n in range(strategies)], [f"q{n}" for n in range(questions)]
    pairs = [pair(number, names, asked) for number in range(strategies * questions)]
    assert len(set(pairs)) == len(pairs)
    assert {question for _, question in pairs[:questions]} == set(asked)
    assert {strategy for strategy, _ in pairs[:strategies]} == set(names)
