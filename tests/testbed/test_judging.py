"""The writer as judge and reader: it reads every style that it writes, and makes no errors."""

from __future__ import annotations

import json
from itertools import pairwise
from random import Random

import pytest

from engrain.backends.base import Request, Sampling
from engrain.synthesize.base import Window
from engrain.synthesize.prompts import user_message
from engrain.testbed.composing import STYLES, Hand, make_pair
from engrain.testbed.judging import answer, told, verdict
from engrain.testbed.quoting import quoted_pairs, quoted_text
from engrain.testbed.reading import Statement, read
from engrain.testbed.world import build
from engrain.testbed.writer import Strength, Writer

REPORT = (
    "Net sales grew by four percent to a record level. "
    "The board approved a new dividend plan in May."
)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [made.text for made in build(seed=5, split="target", documents=30).documents]


def hand(seed: int) -> Hand:
    return Hand(Random(seed), phrasings=6, error_rate=0.0)


def facts(statements: list[Statement]) -> set[tuple[str, str, str]]:
    return {(s.subject, name, value) for s in statements for name, value in s.values.items()}


@pytest.mark.parametrize("style", STYLES)
def test_a_true_text_is_supported_in_every_style(texts, style):
    for seed, text in enumerate(texts):
        written = STYLES[style](hand(seed), read(text))
        assert verdict(text, written) == ("yes", "")
        if style != "reversed":  # It leaves facts out.
            assert facts(told(written)) == facts(read(text))


@pytest.mark.parametrize("style", STYLES)
def test_a_text_of_another_document_is_not_supported(texts, style):
    for seed, (text, other) in enumerate(pairwise(texts)):
        word, unsupported = verdict(text, STYLES[style](hand(seed), read(other)))
        assert word == "no"
        assert facts(read(unsupported)) <= facts(read(other))


def test_pairs_are_supported_and_answered_from_any_text_that_tells_their_facts(texts):
    for seed, text in enumerate(texts):
        known = read(text)
        for statement in known:
            pair = make_pair(hand(seed), statement, known)
            shown = f"Question: {pair.question}\n{pair.explanation}\nAnswer: {pair.answer}"
            assert verdict(text, shown) == ("yes", "")
            assert answer(pair.question, [STYLES["linked"](hand(seed), known)]) == pair.answer
            assert answer(pair.question, []) == "unknown"


def test_of_texts_that_contradict_one_another_most_are_believed():
    texts = [f"Mira Toland lived in {place}." for place in ("Orlport", "Wilmon", "Wilmon")]
    assert answer("Where did Mira Toland live?", texts) == "Wilmon"


def test_what_cannot_be_read_is_unclear_unless_it_is_quoted():
    assert verdict(REPORT, quoted_text("Report", REPORT, "", Random(0))) == ("yes", "")
    assert verdict(REPORT, "Net sales fell by nine percent to a new low.") == ("unclear", "")
    for pair in quoted_pairs("Report", REPORT, 2, Random(0)):
        assert answer(pair.question, ["Something else.", REPORT]) == pair.answer
        assert answer(pair.question, []) == "unknown"


def test_a_writer_that_errs_judges_and_reads_without_errors(texts):
    writer = Writer(strength=Strength(coverage=0.1, error_rate=1.0, phrasings=6, styles=5))
    window = Window(document_id="d", title="t", number=0, text=texts[0], tokens=100)
    true = STYLES["prose"](hand(0), read(texts[0]))

    def reply(template: str, about: Window | None, **fields: str) -> dict[str, str]:
        messages = user_message(template, about, texts=[true], **fields)
        found: dict[str, str] = json.loads(
            writer.reply(Request(messages=messages, sampling=Sampling())).text
        )
        return found

    assert reply("judge/faithful", window) == {"unsupported": "", "verdict": "yes"}
    for statement in read(texts[0]):
        pair = make_pair(hand(1), statement, read(texts[0]))
        assert reply("judge/answer", None, question=pair.question) == {"answer": pair.answer}
