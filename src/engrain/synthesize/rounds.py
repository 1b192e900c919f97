"""Requests are made in rounds: which ones depends on replies, never on their timing.

A round asks every window in proportion to its length; then the tokens kept are counted, and the
next round is cut to what is left. Knows methods, limits and the collector; knows nothing of files.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from engrain.backends.base import Backend, Request, Usage
from engrain.backends.ledger import Ledger
from engrain.backends.run import Result, complete_all
from engrain.progress import Bar
from engrain.synthesize.base import Known, Method, Window
from engrain.synthesize.budget import Gate, Limits, total
from engrain.synthesize.collect import Collector
from engrain.synthesize.notebook import Notebook
from engrain.synthesize.questions import Questions
from engrain.synthesize.schedule import Allotment

# The first round learns how long replies are, on this share of the tokens; the following ones stay
# this far from the end, until so few texts are missing that all are asked for.
_FIRST, _FOLLOWING, _LAST_TEXTS = 1 / 16, 0.9, 32
# However little the replies bring, a round asks for at most so many times what was asked before.
_GROWTH = 20
# A round of at least so many texts that brings less than this share of what the first ones brought
# ends the method.
_TELLING, _FUTILE = 20, 0.05
_FRUITLESS_ROUNDS = 3
# Tries to get a list of a window's strategies, each round.
_TRIES = 3
LIMIT = "the limit on"
"""How a reason begins where the recipe's budget ended a method."""
# Closer to its target than this, a method has reached it: one more text would miss it by as much.
_REACHED = 0.97


@dataclass(frozen=True, slots=True)
class Desk:
    """What all methods of a stage share."""

    backend: Backend
    ledger: Ledger
    concurrency: int
    notebook: Notebook
    questions: Questions
    """Of the pairs that were kept; noted in the notebook, as lists are."""
    collector: Collector

    def known(self, method: Method, window: Window) -> Known:
        """What earlier replies have told a method about a window."""
        lists = self.notebook.about(_subject(method, window))
        return Known(questions=self.questions.about(window), lists=tuple(lists))

    def lists(self, method: Method, window: Window) -> int:
        """How many lists of its preparation a method has for a window."""
        return self.notebook.count(_subject(method, window))

    def add_list(self, method: Method, window: Window, lines: Sequence[str]) -> None:
        """Note a list of its preparation."""
        self.notebook.add(_subject(method, window), lines)

    async def ask(
        self,
        planned: Iterator[tuple[int, Request]],
        take: Callable[[int, Request, Result], None],
        gate: Gate,
    ) -> int:
        """Make the requests, each with its window, as far as the gate lets them through.

        What was in flight when a cap was reached is not taken, only counted; the ledger keeps it.
        Returns how many the ledger answered.
        """
        waiting: deque[int] = deque()
        more = True

        def admitted() -> Iterator[Request]:
            nonlocal more
            while gate.open():
                entry = next(planned, None)
                if entry is None:
                    more = False
                    return
                window, request = entry
                waiting.append(window)
                gate.enter(request)
                yield request

        def done(request: Request, result: Result) -> None:
            gate.leave(request)
            window = waiting.popleft()
            if gate.reached():
                self.collector.leave_out(request, result)
            else:
                take(window, request, result)

        from_ledger = 0
        # Where the gate shuts before the end, it may open again once those in flight are counted.
        while more and gate.open():
            tally = await complete_all(
                self.backend,
                admitted(),
                ledger=self.ledger,
                concurrency=self.concurrency,
                on_done=done,
            )
            from_ledger += tally.from_ledger
        return from_ledger


def _subject(method: Method, window: Window) -> tuple[str, str, int]:
    return method.name, window.document_id, window.number


class Rounds:
    """One method on its way to its share of the budget."""

    def __init__(
        self, desk: Desk, method: Method, windows: Sequence[Window], limits: Limits, bar: Bar
    ) -> None:
        self._desk = desk
        self._method = method
        self._windows = windows
        self._limits = limits
        self._bar = bar
        self._sizes = [method.expected_tokens(window) for window in windows]
        self._allotment = Allotment([window.tokens for window in windows], self._sizes)
        self._planned = [0] * len(windows)
        self._lists_tried = [0] * len(windows)
        self._scale = 1.0
        self._first_scale = 0.0
        self._expected = 0.0
        self._texts = 0
        self._fruitless = 0
        self.from_ledger = 0

    async def run(self) -> str:
        """Write until the share is reached; returns why it was not, empty where it was."""
        spent = self._desk.collector.spent[self._method.name]
        reason = ""
        while not reason and spent.kept_tokens < self._limits.tokens:
            taken = self._allot()
            if self._method.preparation is not None:
                taken = await self._prepare(taken)
            if not taken:
                break
            before = spent.kept_tokens
            made = await self._write(taken)
            if not made:
                break
            self._desk.collector.check_leaks(last=False)
            reason = self._judge(made, spent.kept_tokens - before)
        if spent.kept_tokens >= _REACHED * self._limits.tokens:
            return ""
        return reason or self._exhausted()

    def _allot(self) -> list[int]:
        """The windows of the next round's texts."""
        spent = self._desk.collector.spent[self._method.name]
        left = self._limits.tokens - spent.kept_tokens
        most = self._affordable()
        if not self._texts:
            # One text a window tells more than a sixteenth of a small budget.
            tokens = max(left * _FIRST, min(left, float(sum(self._sizes))))
            return self._allotment.take(tokens, scale=1.0, at_least=1, at_most=most)
        each = self._scale * self._expected / self._texts
        tokens = left if left <= _LAST_TEXTS * each else left * _FOLLOWING
        growth = _GROWTH * self._texts
        return self._allotment.take(
            tokens,
            scale=self._scale,
            at_least=0,
            at_most=growth if most is None else min(most, growth),
        )

    def _affordable(self) -> int | None:
        """Texts that the limits on requests and money still allow in one round."""
        everything = total(self._desk.collector.spent)
        known = self._texts > 0
        money = self._limits.affordable(everything, self._usual() if known else self._longest())
        if money is not None and known and money > _LAST_TEXTS:
            money = int(money * _FOLLOWING)
        if money == 0 and not known:
            # Hardly any reply is as long as it may be: one is tried.
            money = 1
        requests = self._limits.requests_left(everything)
        return min((limit for limit in (requests, money) if limit is not None), default=None)

    def _usual(self) -> Usage:
        """What a text has used so far, and a list for it: at worst every text needs its own."""
        spent, preparation = self._desk.collector.spent, self._method.preparation
        names = [self._method.name] + ([] if preparation is None else [preparation.name])
        parts = [spent[name].mean() for name in names]
        return Usage(
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            cached_prompt_tokens=sum(part.cached_prompt_tokens for part in parts),
            completion_tokens=sum(part.completion_tokens for part in parts),
        )

    def _longest(self) -> Usage:
        """What a text may use at most, before any is known."""
        window = max(self._windows, key=lambda window: window.tokens)
        request = self._method.plan(window, Known(lists=(("",),)), 0)
        return Usage(
            prompt_tokens=len(request.messages[-1].content),
            completion_tokens=request.sampling.max_tokens,
        )

    async def _prepare(self, taken: list[int]) -> list[int]:
        """Get the lists that these texts need; returns the texts whose windows have one."""
        preparation = self._method.preparation
        assert preparation is not None
        desk = self._desk
        needed = {
            window: preparation.needed(self._planned[window] + texts)
            for window, texts in Counter(taken).items()
        }

        def take(window: int, request: Request, result: Result) -> None:
            about = self._windows[window]
            found = desk.collector.notes(preparation, about, request, result)
            if found:
                desk.add_list(self._method, about, found)

        # A list without a text is worth nothing.
        for_texts = (self._limits.requests_left(total(desk.collector.spent)) or 0) // 2
        for _ in range(_TRIES):
            missing = [
                window
                for window in sorted(needed)
                for _ in range(needed[window] - self._listed(window))
            ]
            left = self._limits.requests_left(total(desk.collector.spent))
            if left is not None:
                missing = missing[: max(0, left - for_texts)]
            if not missing:
                break
            gate = Gate(self._limits, desk.collector.spent, preparation.name)
            self.from_ledger += await desk.ask(self._lists(missing), take, gate)
        without = {window for window in needed if not self._listed(window)}
        self._allotment.give_up(without)
        ready = [window for window in taken if window not in without]
        return ready[: self._limits.requests_left(total(desk.collector.spent))]

    def _listed(self, window: int) -> int:
        return self._desk.lists(self._method, self._windows[window])

    def _lists(self, windows: list[int]) -> Iterator[tuple[int, Request]]:
        preparation = self._method.preparation
        assert preparation is not None
        for window in windows:
            number = self._lists_tried[window]
            self._lists_tried[window] += 1
            yield window, preparation.plan(self._windows[window], number)

    async def _write(self, taken: list[int]) -> list[int]:
        """Ask for texts about these windows; returns those whose replies were taken."""
        desk, made = self._desk, []

        def planned() -> Iterator[tuple[int, Request]]:
            # Texts about one window are planned together: its notes are read once.
            noted: tuple[int, Known] | None = None
            for window in taken:
                number = self._planned[window]
                self._planned[window] += 1
                about = self._windows[window]
                if noted is None or noted[0] != window:
                    noted = window, desk.known(self._method, about)
                yield window, self._method.plan(about, noted[1], number)

        def take(window: int, request: Request, result: Result) -> None:
            made.append(window)
            kept = desk.collector.texts(self._method, self._windows[window], request, result)
            desk.questions.add(self._windows[window], kept)
            self._bar.advance(sum(text.tokens for text in kept))

        gate = Gate(self._limits, desk.collector.spent, self._method.name, keeps=True)
        self.from_ledger += await desk.ask(planned(), take, gate)
        return made

    def _judge(self, taken: list[int], gained: int) -> str:
        """Learn from a round; returns why there should be no other, empty where there should."""
        expected = sum(self._sizes[window] for window in taken)
        self._expected += expected
        self._texts += len(taken)
        kept = self._desk.collector.spent[self._method.name].kept_tokens
        if kept:
            self._scale = kept / self._expected
            self._first_scale = self._first_scale or self._scale
        self._fruitless = 0 if gained else self._fruitless + 1
        telling = len(taken) >= _TELLING
        if self._fruitless >= _FRUITLESS_ROUNDS or (
            telling and gained < _FUTILE * expected * self._first_scale
        ):
            last = "reply" if len(taken) == 1 else f"{len(taken)} replies"
            return f"the last {last} brought hardly anything new"
        if telling and not kept:
            return f"nothing in {self._texts} replies could be used"
        return ""

    def _exhausted(self) -> str:
        everything = total(self._desk.collector.spent)
        if self._limits.requests_left(everything) == 0:
            return f"{LIMIT} requests was reached"
        paid = Gate(self._limits, self._desk.collector.spent, self._method.name).reached()
        if self._limits.usd is not None and (paid or self._affordable() == 0):
            return f"{LIMIT} money was reached"
        return "no window had anything more to ask for"
