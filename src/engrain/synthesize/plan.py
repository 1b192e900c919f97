"""What synthesis will cost, before the first call: the estimate behind `engrain plan`.

Knows windows, methods and prices; asks no model. Replies are guessed (`Method.expected_tokens`), so
the figures for requests and prompts are rough; the budget in tokens is what is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engrain.backends.base import Request, Usage
from engrain.backends.settings import Price
from engrain.store import Artifact
from engrain.synthesize.base import Known, Method, Window
from engrain.synthesize.judge.plan import Written, asking
from engrain.synthesize.methods import methods
from engrain.synthesize.prompts import DOCUMENT_END
from engrain.synthesize.schedule import Allotment
from engrain.synthesize.screen.run import Screened, admitted
from engrain.synthesize.settings import SynthesisSettings
from engrain.synthesize.windows import Cuts, estimated_tokens

LIST_TOKENS = 300
"""A list of some dozen one-line strategies, for costs."""
# What stands for the strategy and question of a request that is not planned yet.
_SOME_LINE = "A line of a strategy or a question, of about the usual length."


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a synthesis would ask for."""

    windows: int
    requests: int
    judging: int
    """Of those, to judge what was kept."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How the replies to one method's requests compare with what is guessed about them."""

    prompt: float = 1.0
    """Prompt tokens, for each one that was counted here."""
    completion: float = 1.0
    """Completion tokens, for each one guessed."""
    kept: float = 1.0
    """Tokens of kept texts, for each completion token guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What one method, or its preparation, asks for if all replies are as they are guessed."""

    name: str
    method: str
    """Itself, or the method that it prepares: how much is kept of that says how often both ask."""
    requests: int
    prompt_tokens: int
    document_tokens: int
    """Of those, the documents in the prompts."""
    completion_tokens: int


def estimate(
    corpus: Artifact,
    settings: SynthesisSettings,
    *,
    price: Price | None = None,
    count_tokens: Callable[[str], int] = estimated_tokens,
    screened: Screened | None = None,
) -> Estimate:
    """Estimate the synthesis of a corpus, or of what of it a screen admits.

    `count_tokens` may be a tokenizer's.
    """
    cuts = Cuts(admitted(corpus, screened))
    return scaled(draft(cuts, settings, count_tokens), {}, settings, price)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """Those of all methods."""

    parts: tuple[Draft, ...]
    documents: int
    windows: int
    window_tokens: int
    """Of all windows: what even a perfect prefix cache reads once."""
    count_tokens: Callable[[str], int]
    """As the drafts were counted."""


def draft(
    cuts: Cuts,
    settings: SynthesisSettings,
    count_tokens: Callable[[str], int] = estimated_tokens,
) -> Drafts:
    """What the methods ask for about these documents."""
    shown: dict[str, int] = {}
    parts = []
    for method, share in methods(settings, seed=0):
        cut = cuts.of(method.window)
        texts = allotted(method, cut, settings.budget.tokens * share)
        for name, counts, requests, sizes in _requests(method, cut, texts):
            prompts = completions = shared = 0
            for count, request, size in zip(counts, requests, sizes, strict=True):
                prompt = request.messages[-1].content
                document = prompt.partition(DOCUMENT_END)[0]
                if count and document not in shown:
                    shown[document] = count_tokens(document)
                prompts += count * count_tokens(prompt)
                completions += count * size
                shared += count * shown.get(document, 0)
            parts.append(
                Draft(
                    name=name,
                    method=method.name,
                    requests=sum(counts),
                    prompt_tokens=prompts,
                    document_tokens=shared,
                    completion_tokens=completions,
                )
            )
    return Drafts(
        parts=tuple(parts),
        documents=len({window.document_id for window in cuts.of(settings.window)}),
        windows=len(cuts.of(settings.window)),
        window_tokens=sum(shown.values()),
        count_tokens=count_tokens,
    )


def scaled(
    drafts: Drafts,
    rates: Mapping[str, Rates],
    settings: SynthesisSettings,
    price: Price | None,
) -> Estimate:
    """What is asked for if replies are as the rates say: those of each draft, by its name.

    Judging comes last, with what a limit on requests leaves.
    """
    requests = prompt = completion = shared = 0.0
    for part in drafts.parts:
        own = rates.get(part.name, Rates())
        times = 1 / rates.get(part.method, Rates()).kept
        requests += times * part.requests
        prompt += times * own.prompt * part.prompt_tokens
        shared += times * own.prompt * part.document_tokens
        completion += times * own.completion * part.completion_tokens
    shared = max(0.0, shared - drafts.window_tokens)
    most = settings.budget.requests or requests
    share = min(1.0, most / requests) if requests else 0.0
    written = [_written(part, settings, rates) for part in drafts.parts if part.name == part.method]
    judging = asking(settings.judge, written, drafts.documents, drafts.count_tokens)
    left = judging.requests if settings.budget.requests is None else most - requests * share
    of_judging = min(1.0, left / judging.requests) if judging.requests else 0.0
    requests = requests * share + judging.requests * of_judging
    prompt = prompt * share + judging.prompt_tokens * of_judging
    completion = completion * share + judging.completion_tokens * of_judging
    shared = shared * share + judging.document_tokens * of_judging
    usage = Usage(prompt_tokens=round(prompt), completion_tokens=round(completion))
    cached = dataclasses.replace(usage, cached_prompt_tokens=round(shared))
    return Estimate(
        windows=drafts.windows,
        requests=round(requests),
        judging=round(judging.requests * of_judging),
        prompt_tokens=usage.prompt_tokens,
        prompt_tokens_shareable=cached.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
        usd=None if price is None else round(price.cost(usage), 4),
        usd_cached=None if price is None else round(price.cost(cached), 4),
    )


def allotted(method: Method, cut: Sequence[Window], tokens: float) -> list[int]:
    """How many texts about each window so many tokens give, if replies are as they are guessed."""
    sizes = [method.expected_tokens(window) for window in cut]
    allotment = Allotment([window.tokens for window in cut], sizes)
    allotment.take(tokens, scale=1.0, at_least=1, at_most=None)
    return allotment.asked


def _written(part: Draft, settings: SynthesisSettings, rates: Mapping[str, Rates]) -> Written:
    """What a method's requests bring, if nothing is rejected."""
    own, pairs = rates.get(part.name, Rates()), part.method == "qa"
    each = settings.qa.pairs_per_call if pairs else 1
    requests = max(1, part.requests)
    return Written(
        texts=part.requests / own.kept * each,
        tokens=own.completion * part.completion_tokens / requests / each,
        document=own.prompt * part.document_tokens / requests,
        pairs=pairs,
    )


def _requests(
    method: Method, cut: Sequence[Window], texts: Sequence[int]
) -> Iterator[tuple[str, list[int], Iterator[Request], list[int]]]:
    """Of a method and its preparation: for each window how many, an example, a reply's tokens."""
    known = Known(questions=(_SOME_LINE,), lists=((_SOME_LINE,),))
    sizes = [method.expected_tokens(window) for window in cut]
    yield method.name, list(texts), (method.plan(window, known, 0) for window in cut), sizes
    preparation = method.preparation
    if preparation is not None:
        lists = [preparation.needed(count) for count in texts]
        requests = (preparation.plan(window, 0) for window in cut)
        yield preparation.name, lists, requests, [LIST_TOKENS] * len(cut)
