"""Windows, schedule, leak guard, settings and estimate: each by itself."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engrain.backends.base import Reply, Request, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.backends.settings import GeneratorSettings, Price
from engrain.progress import Silent
from engrain.records import Document, Question
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.plan import estimate
from engrain.synthesize.run import synthesize
from engrain.synthesize.schedule import Allotment
from engrain.synthesize.trace import requests
from engrain.synthesize.windows import estimated_tokens, windows
from engrain.synthesize.words import words

# A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def document(text: str) -> Document:
    return Document(id="d", title="t", source="s", text=text, sha256="")


@patient
@given(st.text(alphabet="ab. \n", max_size=3000), st.integers(10, 100))
def test_windows_lose_nothing_and_fit(text, tokens):
    cut = list(windows([document(text)], tokens))
    assert "".join("".join(window.text.split()) for window in cut) == "".join(text.split())
    assert all(0 < len(window.text) <= 4 * tokens for window in cut)
    assert [window.number for window in cut] == list(range(len(cut)))


def test_a_long_document_is_cut_between_its_paragraphs_into_similar_parts():
    paragraphs = [f"Paragraph {number}. " + "It goes on. " * 20 for number in range(20)]
    cut = list(windows([document("\n\n".join(paragraphs))], 500))
    assert all(window.text.startswith("Paragraph") for window in cut)
    assert min(window.tokens for window in cut) > 0.6 * max(window.tokens for window in cut)


def test_a_document_that_fits_is_one_window_to_the_letter():
    (window,) = windows([document("  A line.\n\n\nAnother.  \n")], 100)
    assert window.text == "A line.\n\n\nAnother."


@patient
@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 50)), min_size=1, max_size=20))
def test_tokens_are_allotted_in_proportion_to_weights(rows):
    weights, sizes = [weight for weight, _ in rows], [size for _, size in rows]
    allotment = Allotment(weights, sizes)
    taken = allotment.take(5000, scale=1.0, at_least=1, at_most=None)
    tokens = sum(sizes[window] for window in taken)
    assert tokens <= 5000
    assert 5000 - tokens < max(sizes)
    for window, weight in enumerate(weights):
        # No window is further from its share than a text of each window can explain.
        share = 5000 * weight / sum(weights)
        assert abs(allotment.asked[window] * sizes[window] - share) <= sizes[window] + max(
            sizes
        ) * (1 + weight / sum(weights) * len(rows))


@patient
@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=10),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_rounds_of_any_size_allot_the_same_as_one(weights, rounds):
    split, whole = (
        Allotment(weights, [1.0] * len(weights)),
        Allotment(weights, [1.0] * len(weights)),
    )
    for size in rounds:
        split.take(size, scale=1.0, at_least=0, at_most=None)
    whole.take(sum(rounds), scale=1.0, at_least=0, at_most=None)
    assert split.asked == whole.asked


def test_windows_that_were_given_up_get_nothing_more():
    allotment = Allotment([1, 1, 1], [1, 1, 1])
    allotment.give_up({1})
    assert allotment.take(6, scale=1.0, at_least=0, at_most=None) == [0, 0, 0, 2, 2, 2]


LONG = "In which of the two harbour towns did the elder of the sisters open her second bakery?"
GUARD = LeakGuard(
    [Question(id=name, text=text, answer="") for name, text in
     (("long", LONG), ("short", "Where was Ada Wren born?"), ("tiny", "Who is she?"))]
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Quiz. WHERE was Ada -- Wren, born?! Think.", "short"),
        ("Where was Ada born?", ""),
        ("Ask in which of the two harbour towns did the elder of the sisters open it.", "long"),
        ("which of the two harbour towns did the elder of the brothers open", ""),
        ("Who is she? Who is she?", ""),
        ("", ""),
    ],
)
def test_the_guard_finds_whole_short_questions_and_thirteen_words_of_long_ones(text, found):
    match = GUARD.find(words(text))
    assert (match.question_id if match else "") == found
    assert match is None or match.by_chance == (found == "short")


def test_shares_that_do_not_add_up_are_refused_with_both_values():
    with pytest.raises(
        ValidationError, match=r"qa.share 0.9 and synthesis.documents.share 0.5 add up to 1.4"
    ):
        SynthesisSettings(budget={"tokens": 1}, qa={"share": 0.9})
    with pytest.raises(ValidationError, match="no questions to focus on"):
        SynthesisSettings(budget={"tokens": 1}, qa={"share": 0}, documents={"share": 1})


def test_where_and_how_fast_a_generator_runs_is_not_its_identity():
    here = GeneratorSettings(
        model="m", base_url="http://a/v1", concurrency=3, price=Price(prompt=1, completion=2)
    )
    assert here.identity() == GeneratorSettings(model="m").identity()
    assert here.identity() != GeneratorSettings(model="n").identity()
    with pytest.raises(ValidationError, match=r"generator\.model is missing"):
        GeneratorSettings()


def as_long_as_expected(write: Callable[[Request], Reply], request: Request) -> Reply:
    """Unlike for any other request, and counted as long as the methods guess."""
    reply = write(request)
    prompt = request.messages[0].content
    (document,) = re.findall(r"\A<document[^\n]*\n(.*)\n</document>\n\n", prompt, re.DOTALL)
    tokens = {"qa": 8 * 90, "strategies": 300}.get(
        request.lineage.method, 100 + int(0.8 * estimated_tokens(document))
    )
    usage = Usage(prompt_tokens=estimated_tokens(prompt), completion_tokens=tokens)
    return dataclasses.replace(reply, usage=usage)


def test_the_estimate_is_what_is_used_when_replies_are_as_long_as_guessed(
    make_corpus, writer, tmp_path
):
    corpus = make_corpus(20)
    wanted = SynthesisSettings(budget={"tokens": 150_000})
    planned = estimate(corpus, wanted, price=Price(prompt=1, completion=10, cached=0.1))
    made = synthesize(
        corpus,
        ScriptedBackend(partial(as_long_as_expected, writer._script)),
        wanted,
        tmp_path / "out",
        seed=0,
        concurrency=8,
        progress=Silent(),
        price=Price(prompt=1, completion=10),
    )
    usage = json.loads((made.path / "usage.json").read_text())
    assert planned.windows == 20
    assert planned.requests == pytest.approx(usage["requests"], rel=0.05)
    assert planned.prompt_tokens == pytest.approx(usage["prompt_tokens"], rel=0.05)
    assert planned.completion_tokens == pytest.approx(usage["completion_tokens"], rel=0.05)
    assert planned.usd == pytest.approx(usage["usd"], rel=0.05)
    texts = {asked.prompt.split("\n\nTask:")[0] for asked in requests(made)}
    shareable = usage["prompt_tokens"] - sum(map(estimated_tokens, texts))
    assert planned.prompt_tokens_shareable < shareable
    assert planned.usd_cached is not None
    assert planned.usd_cached < usage["usd"]
