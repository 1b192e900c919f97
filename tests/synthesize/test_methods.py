"""Prompts and parsers, on what language models do."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engrain.backends.base import Reply, Usage
from engrain.synthesize.active_reading import ActiveReading, Strategies
from engrain.synthesize.base import Known, Method, Window
from engrain.synthesize.entigraph import EntiGraph, Entities
from engrain.synthesize.focal import pair
from engrain.synthesize.methods import methods
from engrain.synthesize.qa import QuestionAnswer
from engrain.synthesize.rewrite import Rewrite
from engrain.synthesize.settings import DocumentSettings, QASettings, SynthesisSettings
from engrain.synthesize.spa import SPA
from engrain.synthesize.stretched import Stretched, cuts

WINDOW = Window(
    document_id="d",
    title='The "Harbour"\nof Wilmon',
    number=0,
    text="It stands\n\nby the sea.",
    tokens=6,
)

LONG_WINDOW = Window(
    document_id="d",
    title="Wilmon",
    number=1,
    count=3,
    start=5000,
    text=" ".join(f"The bakers of Wilmon baked loaf number {n} before dawn." for n in range(55)),
    tokens=720,
)

# A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
QA = QuestionAnswer(QASettings(pairs_per_call=3), window=1500, seed=0)
ROWS = [
    {"question": "Who bakes in Wilmon?", "explanation": "Ada bakes there.", "answer": "Ada"},
    {"question": "When?", "explanation": "Since {1990}.", "answer": 1990},
]


def reply(text: str, finish_reason="stop") -> Reply:
    return Reply(text=text, finish_reason=finish_reason, usage=Usage())


def prompt(request) -> str:
    (message,) = request.messages
    return str(message.content)


KNOWN = Known(questions=("Who bakes?",), lists=(("Draw a map", "Tell a friend"),))
PLANNED = {
    "question-answer pairs": QA.plan(WINDOW, KNOWN, 0),
    "rewrite": Rewrite(DocumentSettings(focal=False), window=1500, seed=0).plan(WINDOW, KNOWN, 0),
    "study strategies": Strategies(DocumentSettings(), seed=0).plan(WINDOW, 0),
    "study strategies for an examination": Strategies(
        DocumentSettings(strategies="task_specific"), seed=0
    ).plan(WINDOW, 0),
    "entities": Entities(DocumentSettings(method="entigraph"), seed=0).plan(WINDOW, 0),
    "relate entities": EntiGraph(DocumentSettings(method="entigraph"), window=1500, seed=0).plan(
        WINDOW, Known(lists=(("Ada", "Wilmon"),)), 0
    ),
    "study text": SPA[0](DocumentSettings(method="spa"), window=1500, seed=0).plan(
        WINDOW, KNOWN, 0
    ),
    "apply a study strategy": ActiveReading(DocumentSettings(), window=1500, seed=0).plan(
        WINDOW, KNOWN, 0
    ),
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


def every_method(**fields) -> list[Method]:
    """Of every document method and the pairs, one each."""
    names = ("rewrite", "entigraph", "active_reading", "spa", "stretched")
    writers = [DocumentSettings(method=name, share=0.1, **fields) for name in names]
    wanted = SynthesisSettings(qa={"share": 0.5}, documents=tuple(writers), budget={"tokens": 1})
    return [method for method, _ in methods(wanted, seed=0)]


@pytest.mark.parametrize("method", every_method(), ids=lambda method: method.name)
def test_requests_about_one_window_are_all_different_and_begin_with_the_document(method):
    planned = [method.plan(LONG_WINDOW, KNOWN, number) for number in range(50)]
    assert len({request.identity("m") for request in planned}) == 50
    (shown,) = {prompt(request).partition("</document>")[0] for request in planned}
    assert shown.startswith('<document title="Wilmon" part="2 of 3">\nThe bakers of Wilmon')
    assert "ignore" not in shown


@pytest.mark.parametrize("method", every_method()[1:], ids=lambda method: method.name)
def test_every_document_method_is_focused_on_each_question_before_any_comes_again(method):
    asked = replace(KNOWN, questions=("Who bakes?", "When?", "Why?"))
    planned = [method.plan(LONG_WINDOW, asked, number) for number in range(3)]
    assert {request.lineage.focus for request in planned} == set(asked.questions)
    for request in planned:
        assert f"\nFocus on the question: {request.lineage.focus}\n" in prompt(request)
        assert "has to answer the question" in prompt(request)


@pytest.mark.parametrize("method", every_method(focal=False)[1:], ids=lambda method: method.name)
def test_without_focal_rewriting_no_question_is_in_a_prompt(method):
    request = method.plan(LONG_WINDOW, KNOWN, 0)
    assert "question" not in prompt(request).split("Reply with")[0].replace("questions", "")
    assert not request.lineage.focus


def test_shares_of_several_methods_are_theirs_and_spa_has_equal_ones_for_its_forms():
    wanted = SynthesisSettings(
        qa={"share": 0.3},
        documents=({"method": "spa", "share": 0.49}, {"method": "rewrite", "share": 0.21}),
        budget={"tokens": 1},
    )
    shares = {method.name: share for method, share in methods(wanted, seed=0)}
    assert shares.pop("qa") == 0.3
    assert shares.pop("rewrite") == 0.21
    assert list(shares.values()) == [pytest.approx(0.07)] * 7
    assert all(name.startswith("spa_") for name in shares)


def test_a_method_may_ask_for_another_window_or_for_the_whole_document():
    wanted = SynthesisSettings(
        documents=({"method": "rewrite", "share": 0.25, "window": 300},
                   {"method": "entigraph", "share": 0.25, "window": "document"}),
        budget={"tokens": 1}, window=900,
    )  # fmt: skip
    assert [method.window for method, _ in methods(wanted, seed=0)] == [900, 300, None]


def test_a_setting_of_another_method_is_refused_with_the_reason():
    with pytest.raises(ValidationError, match="pieces is a setting of method 'stretched', not of"):
        DocumentSettings(method="rewrite", pieces=3)
    with pytest.raises(ValidationError, match="names method 'rewrite' twice"):
        SynthesisSettings(
            qa={"share": 0},
            documents=({"method": "rewrite", "focal": False}, {"method": "rewrite"}),
            budget={"tokens": 1},
        )


def test_a_long_window_is_asked_about_part_by_part_whatever_was_answered():
    line = re.compile(r'^Part: from "(.*)" to "(.*)"$', re.MULTILINE)
    parts = [
        line.findall(prompt(QA.plan(LONG_WINDOW, known, number)))
        for number in range(8)
        for known in (KNOWN, Known())
    ]
    assert parts[::2] == parts[1::2]
    named = [part for part in parts[::2] if part]
    assert parts[:2] != parts[2:4]
    assert len(named) == 6
    assert parts[6] == parts[14] == []
    for ((begins, ends),) in named:
        assert begins in LONG_WINDOW.text
        assert ends in LONG_WINDOW.text
    assert LONG_WINDOW.text.startswith(named[0][0][0])
    assert LONG_WINDOW.text.endswith(named[2][0][1])
    assert "Part:" not in prompt(QA.plan(WINDOW, KNOWN, 0))


@pytest.mark.parametrize(
    "text",
    [
        '{"summary": "A baker.", "entities": ["Ada Wren", "Wilmon", "ada  wren", ""]}',
        'Sure!\n```json\n{"entities": [{"name": "Ada Wren", "type": 1}, {"name": "Wilmon"}]}\n```',
    ],
)
def test_entities_are_found_once_each_in_whatever_a_model_wraps_them(text):
    found = Entities(DocumentSettings(method="entigraph"), seed=0).parse(reply(text))
    assert found == ("Ada Wren", "Wilmon")


def test_a_reply_without_a_list_of_entities_has_none():
    entities = Entities(DocumentSettings(method="entigraph"), seed=0)
    for text in ("Ada Wren, Wilmon", '{"entities": "Ada"}', '{"summary": "x"}', '{"entities": ["A'):
        assert entities.parse(reply(text)) == ()


def test_all_pairs_of_entities_come_before_any_three_and_none_twice():
    graph = EntiGraph(DocumentSettings(method="entigraph", focal=False), window=None, seed=0)
    known = Known(lists=(("A", "B", "C", "D", "E"),))
    groups = [graph.plan(WINDOW, known, number).lineage.strategy for number in range(20)]
    sizes = [len(group.split("; ")) for group in groups]
    assert sizes == [2] * 10 + [3] * 10
    assert len({frozenset(group.split("; ")) for group in groups}) == 20
    other = replace(WINDOW, document_id="e")
    assert [graph.plan(other, known, n).lineage.strategy for n in range(10)] != groups[:10]
    alone = graph.plan(WINDOW, Known(lists=(("A",),)), 3)
    assert alone.lineage.strategy == "A"


STRETCHED = Stretched(
    DocumentSettings(method="stretched", pieces=3, focal=False), window=None, seed=0
)


def test_a_stretched_window_holds_its_own_text_and_the_insertions_between():
    marked = prompt(STRETCHED.plan(LONG_WINDOW, KNOWN, 0)).partition("\n</document>")[0]
    assert marked.count("[gap ") == 2
    rows = json.dumps([{"gap": 1, "text": "So it began."}, {"gap": "[gap 2]", "text": " Then. "}])
    parsed = STRETCHED.parse(reply(f"Sure:\n{rows}"), LONG_WINDOW)
    (piece,) = parsed.pieces
    assert not parsed.faults
    first, second, third = re.split(r"\n\nSo it began\.\n\n|\n\nThen\.\n\n", piece.text)
    assert f"{first} {second} {third}".split() == LONG_WINDOW.text.split()
    assert max(map(len, (first, second, third))) < 1.5 * min(map(len, (first, second, third)))


def test_a_gap_that_was_not_filled_is_a_fault_and_the_others_are_kept():
    half = STRETCHED.parse(
        reply('[{"gap": 2, "text": "Then."}, {"gap": 9, "text": "x"}]'), LONG_WINDOW
    )
    assert [fault.reason for fault in half.faults] == ["gap_missing"]
    assert "Then." in half.pieces[0].text
    cut = STRETCHED.parse(
        reply('[{"gap": 1, "text": "So."}, {"gap": 2, "te', "length"), LONG_WINDOW
    )
    assert [fault.reason for fault in cut.faults] == ["truncated"]
    assert len(cut.pieces) == 1
    (nothing,) = STRETCHED.parse(reply("I would add some background."), LONG_WINDOW).faults
    assert nothing.reason == "unparsable"


@patient
@given(st.text(alphabet="ab. \n", min_size=1, max_size=400), st.integers(2, 9))
def test_any_window_can_be_stretched_and_loses_nothing(text, pieces):
    about = replace(WINDOW, text=text)
    method = Stretched(DocumentSettings(method="stretched", pieces=pieces), window=None, seed=0)
    gaps = len(cuts(text, pieces))
    assert 1 <= gaps < pieces
    rows = [{"gap": number, "text": "X"} for number in range(1, gaps + 1)]
    (piece,) = method.parse(reply(json.dumps(rows)), about).pieces
    assert "".join(piece.text.replace("X", "").split()) == "".join(text.split())
    assert piece.text.count("X") == gaps


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
    parsed = QA.parse(reply(text), WINDOW)
    assert [piece.answer for piece in parsed.pieces] == ["Ada", "1990"]
    assert [piece.question for piece in parsed.pieces] == ["Who bakes in Wilmon?", "When?"]
    assert parsed.pieces[1].text == "Since {1990}.\nAnswer: 1990"
    assert not parsed.faults


@patient
@given(st.integers(min_value=0, max_value=len(json.dumps(ROWS)) - 2))
def test_a_reply_cut_anywhere_keeps_its_whole_pairs(end):
    whole = json.dumps(ROWS)
    parsed = QA.parse(reply(whole[:end], "length"), WINDOW)
    assert len(parsed.pieces) == (end >= whole.index("}, {") + 1) + (end >= len(whole) - 1)
    assert {fault.reason for fault in parsed.faults} <= {"truncated"}
    assert parsed.pieces or parsed.faults


def test_a_wrapped_list_that_was_cut_off_is_one_truncated_end():
    parsed = QA.parse(reply(json.dumps({"pairs": ROWS})[:-20], "length"), WINDOW)
    assert len(parsed.pieces) == 1
    assert [fault.reason for fault in parsed.faults] == ["truncated"]


def test_a_pair_without_an_answer_is_rejected_for_that_and_the_others_are_kept():
    broken = [ROWS[0], {"question": "Why?", "explanation": "Because."}, ["not", "a pair"]]
    parsed = QA.parse(reply(json.dumps(broken)), WINDOW)
    assert len(parsed.pieces) == 1
    assert [fault.reason for fault in parsed.faults] == ["answer_missing"]


def test_prose_instead_of_pairs_is_unparsable():
    (fault,) = QA.parse(reply("The harbour is old."), WINDOW).faults
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
    (piece,) = Rewrite(DocumentSettings(), window=1500, seed=0).parse(reply(text), WINDOW).pieces
    assert piece.text == "By the sea it stands."


def test_a_text_that_opens_with_here_is_not_taken_for_a_preamble():
    text = "Here is where Ada was born, in Wilmon.\n\nShe baked."
    (piece,) = Rewrite(DocumentSettings(), window=1500, seed=0).parse(reply(text), WINDOW).pieces
    assert piece.text == text


def test_a_rewrite_that_was_cut_off_is_rejected():
    (fault,) = (
        Rewrite(DocumentSettings(), window=1500, seed=0)
        .parse(reply("By the sea it", "length"), WINDOW)
        .faults
    )
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
