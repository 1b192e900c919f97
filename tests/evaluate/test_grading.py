"""Golden cases: what is found in a reply, and whether it is right."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engrain.evaluate.grading import (
    chosen_option,
    gold_option,
    grade_choice,
    grade_short_answer,
    order_of_options,
    stated_answer,
)
from engrain.normalise import normalise

SHOWN = ("Oslo", "The Hague", "Paris, Texas", "A fine town", "1,577")

STATED = [
    ("Because of this. Answer: Paris", "Paris"),
    ("Answer: Paris\n", "Paris"),
    ("answer: Paris", "Paris"),
    ("ANSWER: Paris", "Paris"),
    ("Answer : Paris", "Paris"),
    ("**Answer:** Paris", "Paris"),
    ("**Answer**: Paris", "Paris"),
    ("Answer: **Paris**", "Paris"),
    ("Answer: `Paris`", "Paris"),
    ('Answer: "Paris"', "Paris"),
    ("Answer: \u201cParis\u201d", "Paris"),
    ("Final answer: Paris", "Paris"),
    ("Answer:\nParis", "Paris"),
    ("Answer:\n\n  Paris  \nMore words", "Paris"),
    ("Answer: Paris\nIt was founded long ago.", "Paris"),
    ("Answer: Rome. No, wrong.\nAnswer: Paris", "Paris"),
    ("Answer: Paris.", "Paris."),
    ("", None),
    ("Paris", None),
    ("The answer is Paris", None),
    ("Answers: Paris", None),
    ("Answer:", None),
    ("Answer:   \n \n", None),
    ("Answer: **", None),
    ("Answer Paris", None),
]


@pytest.mark.parametrize(("reply", "stated"), STATED)
def test_the_stated_answer_is_what_follows_the_last_mark(reply: str, stated: str | None) -> None:
    assert stated_answer(reply) == stated


SAME = [
    ("Paris", "paris"),
    ("The Hague", "hague"),
    ("the Hague.", "The Hague"),
    ("a baker", "the baker"),
    ("an  old   mill", "old mill"),
    ("old\tmill", "old mill"),
    ("O'Brien", "O\u2019Brien"),
    ("O'Brien", "OBrien"),
    ("U.S.", "US"),
    ("U.S", "U.S."),
    ("well-known", "well known"),
    ("well\u2013known", "well-known"),
    ("Rock & Roll", "rock roll"),
    ("caf\u00e9", "cafe\u0301"),
    ("1577", "1,577"),
    ("1,577", "1577.00"),
    ("1577", "1577.0"),
    ("$1,577", "1577"),
    ("1,577,000", "1577000"),
    ("12", "twelve"),
    ("twenty-five", "25"),
    ("twenty five bakers", "25 bakers"),
    ("0.5", ".5"),
    ("007", "7"),
    ("-5", "\u22125"),
    ("-$5", "-5"),
    ("5%", "5 percent"),
    ("5 per cent", "5 %"),
    ("-0.0", "0"),
    ("\uff11\uff12", "12"),
    ("(Paris)", "Paris"),
    ("Paris, Texas", "Paris Texas"),
    ("2,000,000.50", "2000000.5"),
    ("Stra\u00dfe", "STRASSE"),
]

DIFFERENT = [
    ("Paris", "Rome"),
    ("1577", "157.7"),
    ("1,5", "15"),
    ("3.14", "314"),
    ("-5", "5"),
    ("10-12", "1012"),
    ("C++", "C"),
    ("C#", "C"),
    ("Vitamin A", "Vitamin"),
    ("Vitamin A", "Vitamin B"),
    ("+", "-"),
    ("?", ""),
    ("12", "twelfth"),
    ("1577 million", "1577"),
    ("Paris, Texas", "Paris"),
    ("twenty", "twenty-five"),
    ("one hundred", "1"),
    ("5%", "5"),
    ("1.50", "1.05"),
    ("100", "1"),
    ("co", "company"),
    ("1,57", "157"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_writings_of_the_same_answer_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)
    assert grade_short_answer(f"Answer: {one}", gold=other).correct
    assert grade_short_answer(f"Answer: {other}", gold=one).correct


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_answers_stay_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
    assert not grade_short_answer(f"Answer: {one}", gold=other).correct


@given(st.text(max_size=40))
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_an_alias_is_as_right_as_the_gold_answer() -> None:
    reply = "He moved there. Answer: NYC"
    assert grade_short_answer(reply, gold="New York City", aliases=("NYC",)).correct
    assert not grade_short_answer(reply, gold="New York City").correct


def test_a_reply_without_an_answer_is_wrong_and_has_no_parsed_answer() -> None:
    for grade in (
        grade_short_answer("It is Paris", gold="Paris"),
        grade_choice("It is Oslo", gold="Oslo", shown=SHOWN),
        grade_choice("Answer: Madrid", gold="Oslo", shown=SHOWN),
    ):
        assert grade.parsed is None
        assert not grade.correct


CHOSEN = [
    ("B", 1),
    ("(B)", 1),
    ("[B]", 1),
    ("B.", 1),
    ("B)", 1),
    ("B:", 1),
    ("b", 1),
    ("(b)", 1),
    ("(B).", 1),
    ("B) The Hague", 1),
    ("(B) The Hague", 1),
    ("(B). The Hague", 1),
    ("B. The Hague", 1),
    ("B: the hague", 1),
    ("B - The Hague", 1),
    ("B \u2014 The Hague", 1),
    ("B The Hague", 1),
    ("b) hague", 1),
    ("Option B", 1),
    ("option (B)", 1),
    ("choice b.", 1),
    ("The letter B", 1),
    ("B, the seat of the court", 1),
    ("B. I am sure of it", 1),
    ("B, a town by the sea", 1),
    ("The Hague", 1),
    ("the hague.", 1),
    ("Paris Texas", 2),
    ("A fine town", 3),
    ("D. A fine town", 3),
    ("A", 0),
    ("a", 0),
    ("1577", 4),
    ("E) 1577.00", 4),
    ("F", None),
    ("F. The Hague", None),
    ("B) Oslo", None),
    ("B, C", None),
    ("B, C and D", None),
    ("B or C", None),
    ("B and C", None),
    ("A/D", None),
    ("B, or C", None),
    ("(B), (C)", None),
    ("B C", None),
    ("none of them", None),
    ("Hague or Oslo", None),
    ("Paris", None),
    ("BB", None),
    ("2", None),
    ("?", None),
    ("I do not know", None),
    ("a town", None),
]


@pytest.mark.parametrize(("stated", "index"), CHOSEN)
def test_letters_and_texts_name_an_option_and_unclear_answers_name_none(
    stated: str, index: int | None
) -> None:
    assert chosen_option(stated, SHOWN) == index


def test_options_with_the_same_text_are_told_apart_by_letter_only() -> None:
    assert chosen_option("yes", ("yes", "no", "Yes")) is None
    assert chosen_option("C", ("yes", "no", "Yes")) == 2


def test_a_letter_that_is_also_an_options_text_is_read_as_the_letter() -> None:
    assert chosen_option("A", ("B", "A")) == 0


def test_permuted_options_do_not_change_which_option_is_graded() -> None:
    options = SHOWN[:4]
    for shown in permutations(options):
        letter = "ABCD"[shown.index("Oslo")]
        grade = grade_choice(f"Because. Answer: {letter}", gold="Oslo", shown=shown)
        assert (grade.parsed, grade.correct) == ("Oslo", True)
        wrong = "ABCD"[shown.index("A fine town")]
        grade = grade_choice(f"Because. Answer: ({wrong})", gold="Oslo", shown=shown)
        assert (grade.parsed, grade.correct) == ("A fine town", False)


@given(
    count=st.integers(1, 8),
    seed=st.integers(0, 99),
    question=st.text(max_size=8),
    sample=st.integers(0, 40),
)
def test_the_order_of_options_is_a_permutation_that_depends_on_its_arguments_alone(
    count: int, seed: int, question: str, sample: int
) -> None:
    order = order_of_options(count, seed=seed, question_id=question, sample=sample)
    assert sorted(order) == list(range(count))
    assert order == order_of_options(count, seed=seed, question_id=question, sample=sample)


def test_over_as_many_samples_as_options_each_option_stands_at_each_letter_once() -> None:
    orders = [order_of_options(4, seed=3, question_id="q", sample=sample) for sample in range(4)]
    assert all(sorted(column) == [0, 1, 2, 3] for column in zip(*orders, strict=True))


def test_the_gold_option_stands_at_every_letter_about_equally_often() -> None:
    places = [
        order_of_options(4, seed=0, question_id=f"q{number}", sample=0).index(0)
        for number in range(4000)
    ]
    # 4,000 draws with p = 1/4: the standard error of a count is 27.
    assert all(abs(places.count(place) - 1000) < 4 * 27.4 for place in range(4))


def test_the_gold_option_is_found_under_another_writing_and_refused_where_unclear() -> None:
    assert gold_option("Oslo", SHOWN) == "Oslo"
    assert gold_option("oslo.", SHOWN) == "Oslo"
    assert gold_option("Madrid", SHOWN) is None
    assert gold_option("yes", ("Yes", "YES", "no")) is None
    assert gold_option("no", ("no", "no")) is None
