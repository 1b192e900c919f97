"""What synthesis will cost, before the first call: the estimate behind `engrain plan`.

Knows windows, methods and prices; asks no model. Replies are guessed (`Method.expected_tokens`), so
the figures for requests and prompts are rough; the budget in tokens is what is kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engrain import artifacts
from engrain.backends.base import Request, Usage
from engrain.backends.settings import Price
from engrain.store import Artifact
from engrain.synthesize.base import Known, Method, Window
from engrain.synthesize.methods import methods
from engrain.synthesize.prompts import DOCUMENT_END
from engrain.synthesize.schedule import Allotment
from engrain.synthesize.settings import SynthesisSettings
from engrain.synthesize.windows import estimated_tokens, windows

# A list of some dozen one-line strategies, for costs.
_LIST_TOKENS = 300
# What stands for the strategy and question of a request that is not planned yet.
_SOME_LINE = "A line of a strategy or a question, of about the usual length."


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a synthesis would ask for."""

    windows: int
    requests: int
    prompt_tokens: int
    prompt_tokens_shareable: int
    """Of those, what a server with a prefix cache reads only once: the document of all but the
    first request to it."""
    completion_tokens: int
    usd: float | None
    """Without prefix caching; None: no price is known."""
    usd_cached: float | None
    """With prefix caching; None: no price is known."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def estimate(
    corpus: Artifact,
    settings: SynthesisSettings,
    *,
    price: Price | None = None,
    count_tokens: Callable[[str], int] = estimated_tokens,
) -> Estimate:
    """Estimate the synthesis of a corpus; `count_tokens` may be a tokenizer's."""
    planned = methods(settings, seed=0)
    cut = {
        tokens: list(windows(artifacts.documents(corpus), tokens))
        for tokens in {settings.window, *(method.window for method, _ in planned)}
    }
    asked: Counter[str] = Counter()
    prompt = completion = 0.0
    for method, share in planned:
        for texts, request, size in _requests(
            method, cut[method.window], settings.budget.tokens * share
        ):
            document = request.messages[-1].content.partition(DOCUMENT_END)[0]
            asked[document] += texts
            prompt += texts * count_tokens(request.messages[-1].content)
            completion += texts * size
    requests = asked.total()
    shareable = sum((number - 1) * count_tokens(shown) for shown, number in asked.items() if number)
    most = settings.budget.requests or requests
    part = min(1.0, most / requests) if requests else 0.0
    usage = Usage(prompt_tokens=round(prompt * part), completion_tokens=round(completion * part))
    shared = round(shareable * part)
    return Estimate(
        windows=len(cut[settings.window]),
        requests=round(requests * part),
        prompt_tokens=usage.prompt_tokens,
        prompt_tokens_shareable=shared,
        completion_tokens=usage.completion_tokens,
        usd=None if price is None else round(price.cost(usage), 4),
        usd_cached=None
        if price is None
        else round(price.cost(dataclasses.replace(usage, cached_prompt_tokens=shared)), 4),
    )


def _requests(
    method: Method, cut: Sequence[Window], tokens: float
) -> Iterator[tuple[int, Request, int]]:
    """For each window: how many requests, an example, the tokens of a reply."""
    known = Known(questions=(_SOME_LINE,), lists=((_SOME_LINE,),))
    sizes = [method.expected_tokens(window) for window in cut]
    allotment = Allotment([window.tokens for window in cut], sizes)
    allotment.take(tokens, scale=1.0, at_least=1, at_most=None)
    for window, texts, size in zip(cut, allotment.asked, sizes, strict=True):
        yield texts, method.plan(window, known, 0), size
        if method.preparation is not None:
            lists = method.preparation.needed(texts)
            yield lists, method.preparation.plan(window, 0), _LIST_TOKENS
