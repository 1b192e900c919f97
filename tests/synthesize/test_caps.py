"""Caps are hard: on tokens, requests and money, whatever comes back, interrupted or not."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engrain import artifacts
from engrain.backends.base import Reply, Request, Usage
from engrain.backends.scripted import ScriptedBackend
from engrain.backends.settings import Price
from engrain.errors import RequestError, UserError
from engrain.progress import Silent
from engrain.synthesize import SynthesisSettings
from engrain.synthesize.run import synthesize
from engrain.synthesize.trace import requests

PRICE = Price(prompt=1.0, cached=0.1, completion=4.0)
MOST = 300
"""Tokens of the longest reply."""


class Interrupted(BaseException):
    """Ends a run from inside, as Ctrl-C does."""


class Erratic(ScriptedBackend):
    """Replies of any length, with any usage, some failing; all the same for the same request."""

    def __init__(self, script, seed: int, *, until: int | None = None) -> None:
        super().__init__(script)
        self._seed, self._until = seed, until
        self.paid: dict[str, Usage] = {}

    async def complete(self, request: Request) -> Reply:
        if self._until is not None and len(self.requests) >= self._until:
            raise Interrupted
        whole = await super().complete(request)
        identity = request.identity(self.model)
        generator = random.Random(f"{self._seed}/{identity}")
        if generator.random() < 0.05:
            raise RequestError("status 500")
        prompt = generator.randint(1, len(request.messages[0].content))
        usage = Usage(
            prompt_tokens=prompt,
            cached_prompt_tokens=generator.randint(0, prompt),
            completion_tokens=generator.choice([1, 20, 100, MOST]),
        )
        self.paid[identity] = usage
        return Reply(text=whole.text, finish_reason="stop", usage=usage)

    def usd(self) -> float:
        return sum(PRICE.cost(usage) for usage in self.paid.values())


def write(corpus, backend, out: Path, budget, concurrency: int):
    limits = {"max_tokens": MOST}
    return synthesize(
        corpus,
        backend,
        SynthesisSettings(budget=budget, qa=limits, documents=limits),
        out,
        seed=0,
        concurrency=concurrency,
        price=PRICE,
        progress=Silent(),
    )


BUDGETS = st.fixed_dictionaries(
    {
        "tokens": st.integers(200, 12_000),
        "requests": st.none() | st.integers(1, 60),
        "usd": st.none() | st.floats(0.0005, 0.05),
    }
)


def test_no_cap_is_passed_by_more_than_one_reply_and_timing_changes_nothing(
    make_corpus, writer, tmp_path_factory
):
    corpus = make_corpus(3)
    longest = max(len(document.text) for document in artifacts.documents(corpus)) + 5_000
    one_reply = PRICE.cost(Usage(prompt_tokens=longest, completion_tokens=MOST))

    @settings(max_examples=15)
    @given(st.integers(0, 10**6), BUDGETS, st.integers(1, 30), st.integers(0, 40))
    def check(seed, budget, concurrency, until) -> None:
        folder = tmp_path_factory.mktemp("caps")
        first = Erratic(writer._script, seed, until=until)
        rest = Erratic(writer._script, seed)
        made = None
        with suppress(UserError, Interrupted):
            write(corpus, first, folder / "out", budget, concurrency)
        # A method that brings nothing usable within the caps ends the run.
        with suppress(UserError):
            made = write(corpus, rest, folder / "out", budget, concurrency)
        if budget["usd"] is not None:
            assert first.usd() + rest.usd() <= budget["usd"] + one_reply
        assert not set(first.paid) & set(rest.paid)
        if budget["requests"] is not None:
            assert len(rest.requests) <= budget["requests"]
            assert len(first.paid) + len(rest.paid) <= budget["requests"]
        if made is None:
            return
        for tokens in made.counts["tokens"].values():
            assert tokens < budget["tokens"] / 2 + MOST
        whole = write(corpus, Erratic(writer._script, seed), folder / "whole", budget, 1)
        assert whole.counts["texts_fingerprint"] == made.counts["texts_fingerprint"]
        assert [row.request_id for row in requests(whole)] == [
            row.request_id for row in requests(made)
        ]

    check()


def test_replies_far_longer_than_expected_do_not_pass_the_cap_on_tokens(
    make_corpus, writer, tmp_path
):
    def script(request: Request) -> Reply:
        reply = writer._script(request)
        usage = Usage(prompt_tokens=10, completion_tokens=request.sampling.max_tokens)
        return Reply(text=reply.text, finish_reason="stop", usage=usage)

    corpus = make_corpus(30)
    backend = ScriptedBackend(script)
    made = synthesize(
        corpus,
        backend,
        SynthesisSettings(budget={"tokens": 20_000}),
        tmp_path / "out",
        seed=0,
        concurrency=64,
        progress=Silent(),
    )
    assert 10_000 <= made.counts["tokens"]["qa"] < 10_000 + 2048
    assert 10_000 <= made.counts["tokens"]["document"] < 10_000 + 4096


def test_replies_that_become_dear_do_not_pass_the_cap_on_money(make_corpus, writer, tmp_path):
    def script(request: Request) -> Reply:
        # The first ones about a window promise that there is money for many more.
        tokens = 10 if request.sample < 2 else request.sampling.max_tokens
        usage = Usage(prompt_tokens=10, completion_tokens=tokens)
        return Reply(text=writer._script(request).text, finish_reason="stop", usage=usage)

    backend = ScriptedBackend(script)
    cap, one_reply = 0.2, PRICE.cost(Usage(prompt_tokens=10, completion_tokens=MOST))
    corpus = make_corpus(10)
    write(corpus, backend, tmp_path / "out", {"tokens": 10_000_000, "usd": cap}, 64)
    spent = sum(PRICE.cost(script(request).usage) for request in backend.requests)
    assert cap - 2 * one_reply <= spent <= cap + one_reply
