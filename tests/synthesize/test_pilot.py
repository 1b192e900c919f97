"""A pilot pays for what the run asks first, and its estimate is nearer than the guess."""

from __future__ import annotations

import pytest

from engrain import artifacts
from engrain.backends.base import Reply, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.backends.settings import Price
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.pilot import pilot
from engrain.synthesize.plan import estimate
from engrain.synthesize.run import synthesize

PRICE = Price(prompt=1.0, cached=0.1, completion=10.0)
SETTINGS = SynthesisSettings(budget={"tokens": 60_000})


def tried(corpus, backend, out, *, settings=SETTINGS, documents=4):
    return pilot(
        corpus,
        backend,
        settings,
        out,
        documents=documents,
        seed=0,
        concurrency=8,
        price=PRICE,
    )


def written(corpus, backend, out):
    return synthesize(
        corpus,
        backend,
        SETTINGS,
        out,
        seed=0,
        concurrency=8,
        price=PRICE,
        progress=Silent(),
    )


@pytest.fixture
def wordy(writer):
    """Rejects a part, counts its own tokens: what no guess can know."""

    def script(request):
        reply = writer._script(request)
        text = reply.text.replace('"answer": "there"', '"answer": ""', 3)
        usage = Usage(
            prompt_tokens=len(request.messages[0].content) // 2,
            cached_prompt_tokens=16,
            completion_tokens=len(reply.text) // 2,
        )
        return Reply(text=text, finish_reason="stop", usage=usage)

    return lambda: ScriptedBackend(script)


def test_what_the_pilot_paid_for_the_run_does_not_ask_again(make_corpus, wordy, tmp_path):
    corpus, first, rest, fresh = make_corpus(8), wordy(), wordy(), wordy()
    found = tried(corpus, first, tmp_path / "out")
    assert found.requests == len(first.requests) > 0
    made = written(corpus, rest, tmp_path / "out")
    whole = written(corpus, fresh, tmp_path / "whole")
    assert made.counts["texts_fingerprint"] == whole.counts["texts_fingerprint"]
    assert len(first.requests) + len(rest.requests) == len(fresh.requests)


def test_a_pilot_made_again_costs_nothing(make_corpus, wordy, tmp_path):
    first = tried(make_corpus(8), wordy(), tmp_path / "out")
    again = wordy()
    found = tried(make_corpus(8), again, tmp_path / "out")
    assert again.requests == []
    assert found.from_ledger == found.requests == first.requests
    assert found.estimate == first.estimate


def test_the_estimate_is_near_and_its_interval_holds_it(make_corpus, wordy, tmp_path):
    corpus, fresh = make_corpus(12), wordy()
    found = tried(corpus, wordy(), tmp_path / "out", documents=6)
    made = written(corpus, fresh, tmp_path / "whole")
    replies = [fresh._script(request) for request in fresh.requests]
    actual = {
        "requests": made.counts["requests"],
        "prompt_tokens": sum(reply.usage.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.usage.completion_tokens for reply in replies),
    }
    guess = estimate(corpus, SETTINGS, price=PRICE)
    assert found.low is not None and found.high is not None
    for name, value in actual.items():
        near = getattr(found.estimate, name)
        assert near == pytest.approx(value, rel=0.15), name
        assert abs(near - value) < abs(getattr(guess, name) - value)
        assert getattr(found.low, name) <= near <= getattr(found.high, name)
    assert found.estimate.usd_cached < found.estimate.usd
    assert found.rejected["answer_missing"] > 0


def test_one_document_gives_no_interval(make_corpus, wordy, tmp_path):
    found = tried(make_corpus(3), wordy(), tmp_path / "out", documents=1)
    assert found.documents == 1
    assert found.low is found.high is None


def test_a_pilot_keeps_to_the_limit_on_money_and_says_where_it_ended(make_corpus, wordy, tmp_path):
    backend = wordy()
    settings = SynthesisSettings(budget={"tokens": 60_000, "usd": 0.02})
    with pytest.raises(UserError, match=r"nothing usable by '\w+' \(nothing was asked\)"):
        tried(make_corpus(8), backend, tmp_path / "out", settings=settings, documents=8)
    replies = [backend._script(request) for request in backend.requests]
    most = max(PRICE.cost(reply.usage) for reply in replies)
    assert sum(PRICE.cost(reply.usage) for reply in replies) <= 0.02 + most


def test_a_pilot_leaves_no_file_but_the_ledger(make_corpus, wordy, tmp_path):
    corpus = make_corpus(3)
    tried(corpus, wordy(), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"ledger.sqlite"}
    assert any(artifacts.documents(corpus))
