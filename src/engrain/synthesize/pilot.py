"""A pilot: a few documents are paid for, so that the estimate rests on real replies.

Asks what the synthesis itself would ask first, through its ledger: what is paid here is not paid
again. Knows methods and rates; knows nothing of the stage's files.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from engrain import artifacts
from engrain.backends.base import Backend, Request, Usage
from engrain.backends.ledger import Ledger
from engrain.backends.run import Result
from engrain.backends.settings import Price
from engrain.errors import UserError
from engrain.store import Artifact
from engrain.synthesize.base import Method, Window
from engrain.synthesize.budget import Gate, Limits, total
from engrain.synthesize.collect import LEDGER, Collector
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.methods import methods
from engrain.synthesize.notebook import Notebook
from engrain.synthesize.plan import LIST_TOKENS, Drafts, Estimate, Rates, allotted, draft, scaled
from engrain.synthesize.questions import Questions
from engrain.synthesize.rounds import Desk
from engrain.synthesize.screen.run import Screened, admitted, require_clean, screen
from engrain.synthesize.settings import SynthesisSettings
from engrain.synthesize.verify import Verifier
from engrain.synthesize.windows import Cuts, estimated_tokens

# Of one document, so that many documents cost no more than they must; and of one window.
_WINDOWS, _TEXTS = 2, 4
_FIGURES = (
    "requests",
    "prompt_tokens",
    "prompt_tokens_shareable",
    "completion_tokens",
    "usd",
    "usd_cached",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What a pilot found."""

    documents: int
    requests: int
    from_ledger: int
    """Of those, how many had been paid for before."""
    spent: Usage
    usd: float | None
    rejected: Mapping[str, int]
    """By reason."""
    estimate: Estimate
    low: Estimate | None
    """The ends of each figure's 95 % interval, over documents; None: one document tells nothing of
    the others."""
    high: Estimate | None
    screened: Screened | None
    """What was found in the documents; None: they were not searched."""


@dataclass(slots=True)
class _Sums:
    """Of one document and one method: what was measured, and what had been guessed."""

    counted: float = 0.0
    guessed: float = 0.0
    prompt: int = 0
    completion: int = 0
    kept: int = 0

    def add(self, other: _Sums) -> None:
        self.counted += other.counted
        self.guessed += other.guessed
        self.prompt += other.prompt
        self.completion += other.completion
        self.kept += other.kept

    def rates(self) -> Rates:
        """Raises ZeroDivisionError where nothing was asked."""
        return Rates(
            prompt=self.prompt / self.counted,
            completion=self.completion / self.guessed,
            kept=self.kept / self.guessed,
        )


def pilot(
    corpus: Artifact,
    generator: Backend,
    settings: SynthesisSettings,
    out: Path,
    *,
    documents: int,
    seed: int,
    concurrency: int,
    price: Price | None = None,
    count_tokens: Callable[[str], int] = estimated_tokens,
) -> Pilot:
    """Pay for some texts about `documents` documents, and estimate the rest from them.

    Args:
        corpus: What would be written about.
        generator: Writes; its connections are closed at the end.
        settings: What would be written; the limit on money holds for the pilot too.
        out: The directory of the synthesis, whose ledger keeps the replies.
        documents: How many are drawn; all, where there are no more.
        seed: The run's.
        concurrency: Requests in flight.
        price: What tokens cost.
        count_tokens: Of a prompt.

    Raises:
        UserError: Where a method brought nothing usable, the ledger is in use, or the screen found
        what must not be sent.
    """
    screened = screen(corpus, settings.screen, out)
    require_clean(screened, "plan", out)
    cuts = Cuts(admitted(corpus, screened))
    cut = cuts.of(settings.window)
    if not cut:
        raise UserError(f"plan: no document in {str(corpus.path)!r} has any text")
    drawn = _draw(cut, documents, seed)
    with (
        tempfile.TemporaryDirectory(prefix="engrain-pilot-") as scratch,
        Ledger(out / LEDGER) as ledger,
        Notebook(Path(scratch)) as notebook,
        Collector(
            Path(scratch),
            model=generator.model,
            verifier=Verifier(LeakGuard(artifacts.questions(corpus)), settings.verify),
            leak_limit=1.0,
        ) as collector,
    ):
        desk = Desk(
            backend=generator,
            ledger=ledger,
            concurrency=concurrency,
            notebook=notebook,
            questions=Questions(notebook),
            collector=collector,
        )
        trial = _Trial(desk, cuts, drawn, settings, price, count_tokens)
        asyncio.run(trial.run(seed))
        everything, rejected = total(collector.spent), dict(collector.rejections())
    estimates = _estimates(trial, draft(cuts, settings, count_tokens), settings, price)
    low, high = _interval(estimates)
    return Pilot(
        documents=len(drawn),
        requests=everything.requests,
        from_ledger=trial.from_ledger,
        spent=everything.usage,
        usd=None if price is None else price.cost(everything.usage),
        rejected=rejected,
        estimate=estimates[0],
        low=low,
        high=high,
        screened=screened,
    )


def _draw(cut: Sequence[Window], documents: int, seed: int) -> frozenset[str]:
    """So many documents."""
    names = list(dict.fromkeys(window.document_id for window in cut))
    return frozenset(random.Random(f"pilot/{seed}").sample(names, min(documents, len(names))))


@dataclass(slots=True)
class _Trial:
    """The pilot's requests, and the sums of what came back."""

    desk: Desk
    cuts: Cuts
    drawn: frozenset[str]
    """Documents."""
    settings: SynthesisSettings
    price: Price | None
    count_tokens: Callable[[str], int]
    sums: dict[str, dict[str, _Sums]] = field(default_factory=dict)
    """By document and method."""
    from_ledger: int = 0

    async def run(self, seed: int) -> None:
        try:
            for method, share in methods(self.settings, seed=seed):
                cut = self.cuts.of(method.window)
                planned = allotted(method, cut, self.settings.budget.tokens * share)
                some = self._some(cut, seed)
                await self._lists(method, [cut[position] for position in some])
                await self._texts(method, [(cut[position], planned[position]) for position in some])
        finally:
            await self.desk.backend.aclose()

    def _some(self, cut: Sequence[Window], seed: int) -> list[int]:
        """Positions of some windows of each document, in order."""
        own: dict[str, list[int]] = defaultdict(list)
        for position, window in enumerate(cut):
            if window.document_id in self.drawn:
                own[window.document_id].append(position)
        generator = random.Random(f"pilot/{seed}/windows")
        return sorted(
            position
            for positions in own.values()
            for position in generator.sample(positions, min(_WINDOWS, len(positions)))
        )

    async def _lists(self, method: Method, cut: Sequence[Window]) -> None:
        preparation, desk = method.preparation, self.desk
        if preparation is None:
            return

        def take(window: int, request: Request, result: Result) -> None:
            before = desk.collector.spent[preparation.name].usage
            found = desk.collector.notes(preparation, cut[window], request, result)
            self._add(request, before, LIST_TOKENS, kept=0)
            if found:
                desk.add_list(method, cut[window], found)

        await self._ask(
            ((number, preparation.plan(window, 0)) for number, window in enumerate(cut)),
            take,
            name=preparation.name,
        )

    async def _texts(self, method: Method, cut: Sequence[tuple[Window, int]]) -> None:
        """Some texts about each window, of the number that is planned."""
        desk = self.desk

        def requests() -> Iterator[tuple[int, Request]]:
            for position, (window, planned) in enumerate(cut):
                if method.preparation is not None and not desk.lists(method, window):
                    continue
                known = desk.known(method, window)
                for number in range(max(1, min(_TEXTS, planned))):
                    yield position, method.plan(window, known, number)

        def take(position: int, request: Request, result: Result) -> None:
            window = cut[position][0]
            before = desk.collector.spent[method.name].usage
            kept = desk.collector.texts(method, window, request, result)
            desk.questions.add(window, kept)
            guess = method.expected_tokens(window)
            self._add(request, before, guess, kept=sum(text.tokens for text in kept))

        await self._ask(requests(), take, name=method.name)

    async def _ask(
        self,
        requests: Iterator[tuple[int, Request]],
        take: Callable[[int, Request, Result], None],
        *,
        name: str,
    ) -> None:
        budget, spent = self.settings.budget, self.desk.collector.spent
        limits = Limits.of(budget, self.price, share=1.0, share_so_far=1.0)
        left = limits.requests_left(total(spent))
        gate = Gate(limits, spent, name)
        self.from_ledger += await self.desk.ask(islice(requests, left), take, gate)

    def _add(self, request: Request, before: Usage, guess: int, *, kept: int) -> None:
        name, document = request.lineage.method, request.lineage.document_id
        after = self.desk.collector.spent[name].usage
        self.sums.setdefault(document, defaultdict(_Sums))[name].add(
            _Sums(
                counted=self.count_tokens(request.messages[-1].content),
                guessed=guess,
                prompt=after.prompt_tokens - before.prompt_tokens,
                completion=after.completion_tokens - before.completion_tokens,
                kept=kept,
            )
        )

    def rates(self, *, without: str = "") -> dict[str, Rates]:
        """Of each method, from all documents but one."""
        together: dict[str, _Sums] = defaultdict(_Sums)
        for document, sums in self.sums.items():
            for name, part in sums.items():
                if document != without:
                    together[name].add(part)
        return {name: sums.rates() for name, sums in together.items()}


def _estimates(
    trial: _Trial, drafts: Drafts, settings: SynthesisSettings, price: Price | None
) -> list[Estimate]:
    """From all documents; and from all but one, as often as there are several."""
    rates = trial.rates()
    for part in drafts.parts:
        if part.name not in rates or (part.name == part.method and not rates[part.name].kept):
            reasons = trial.desk.collector.reasons[part.name]
            why = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
            raise UserError(
                f"plan: the pilot brought nothing usable by {part.name!r} "
                f"({why or 'nothing was asked'}); draw more documents, raise the limits under "
                "synthesis.budget, or ask another model"
            )
    found = [scaled(drafts, rates, settings, price)]
    if len(trial.sums) > 1:
        for document in trial.sums:
            rest = trial.rates(without=document)
            if all(part.name in rest and rest[part.method].kept for part in drafts.parts):
                found.append(scaled(drafts, rest, settings, price))
    return found if len(found) == 1 + len(trial.sums) else found[:1]


def _interval(estimates: Sequence[Estimate]) -> tuple[Estimate | None, Estimate | None]:
    """The ends of the interval of each figure on its own."""
    # Late: scipy takes a second, and a plan without a pilot needs none of it.
    from engrain import stats

    whole, without = estimates[0], estimates[1:]
    if not without:
        return None, None
    low, high = {}, {}
    for figure in _FIGURES:
        value = getattr(whole, figure)
        rest = [getattr(estimate, figure) for estimate in without]
        low[figure] = high[figure] = value
        if value and all(rest):
            ends = stats.jackknife(value, rest)
            low[figure], high[figure] = (type(value)(end) for end in ends)
    return dataclasses.replace(whole, **low), dataclasses.replace(whole, **high)
