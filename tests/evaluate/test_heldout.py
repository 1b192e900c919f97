"""The held-out slice: which questions it takes, and what it keeps out of training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from engrain.evaluate import heldout
from engrain.records import SyntheticText


def _pair(document: int, number: int, question: str = "", answer: str = "Oslo") -> SyntheticText:
    return SyntheticText(
        id=f"d{document}-qa{number}",
        document_id=f"d{document}",
        kind="qa",
        method="qa",
        text=f"Explanation.\nAnswer: {answer}",
        question=question or f"Where was baker {number} of town {document} born?",
        answer=answer,
        request_id="r",
        tokens=10,
    )


def _focused(document: int, number: int, focus: str) -> SyntheticText:
    return SyntheticText(
        id=f"d{document}-text{number}",
        document_id=f"d{document}",
        kind="document",
        method="active_reading",
        text="A text.",
        focus=focus,
        request_id="r",
        tokens=10,
    )


def held_out(texts: Sequence[SyntheticText], **settings: Any):
    return heldout.held_out(lambda: iter(texts), **settings)


TEXTS = [_pair(document, number) for document in range(10) for number in range(20)]


def test_each_document_gives_its_share_and_the_questions_say_what_they_are() -> None:
    questions, excluded = held_out(TEXTS, share=0.1, at_most=1000, seed=0)
    assert len(questions) == 20
    assert {question.kind for question in questions} == {"synthetic"}
    assert all(
        sum(question.document_ids == (f"d{document}",) for question in questions) == 2
        for document in range(10)
    )
    assert excluded == {question.id.removeprefix("synthetic:") for question in questions}


def test_the_slice_depends_on_the_seed_and_not_on_the_order_of_the_texts() -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    assert held_out(shuffled, share=0.1, at_most=15, seed=0) == held_out(
        TEXTS, share=0.1, at_most=15, seed=0
    )
    assert held_out(TEXTS, share=0.1, at_most=15, seed=0) != held_out(
        TEXTS, share=0.1, at_most=15, seed=1
    )


def test_a_small_slice_is_spread_over_all_documents() -> None:
    questions, _ = held_out(TEXTS, share=0.5, at_most=10, seed=0)
    assert sorted(question.document_ids for question in questions) == [
        (f"d{n}",) for n in range(10)
    ]


def test_the_same_question_in_other_texts_is_kept_out_of_training_too() -> None:
    asked = "Where was baker 0 of town 0 born?"
    twin = _pair(0, 99, question="where was the baker 0 of town 0 born")
    focused, free = _focused(0, 1, focus=asked), _focused(0, 2, focus="Something else?")
    texts = [*TEXTS[:20], twin, focused, free]
    for seed in range(20):
        questions, excluded = held_out(texts, share=0.5, at_most=1000, seed=seed)
        chosen = asked in {question.text for question in questions}
        assert ("d0-qa0" in excluded) == (twin.id in excluded) == (focused.id in excluded) == chosen
        assert free.id not in excluded


def test_a_document_keeps_a_question_for_training() -> None:
    questions, _ = held_out([_pair(0, 0), _pair(1, 0), _pair(1, 1)], share=0.9, at_most=9, seed=0)
    assert [question.document_ids for question in questions] == [("d1",)]


def test_answers_that_exact_match_cannot_grade_are_not_asked_for() -> None:
    long = [
        _pair(0, number, answer="a sentence of many words that nobody would repeat so")
        for number in range(9)
    ]
    assert held_out(long, share=0.5, at_most=9, seed=0) == ((), frozenset())
    assert held_out([], share=0.5, at_most=9, seed=0) == ((), frozenset())


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_no_question_or_no_training_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        held_out(TEXTS, share=share, at_most=9, seed=0)
