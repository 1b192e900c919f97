"""What verification costs: CPU time for each text, memory for each text that is remembered.

Texts are the testbed's strong writer's, in the order in which a run takes them. CPU time, not wall
time: it does not depend on what else the machine does. Usage: make bench NAME=verify
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

import psutil
from recording import Figure, report

from engrain.records import Question, TextKind
from engrain.synthesize.base import Known, Method, Piece, Window
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.methods import methods
from engrain.synthesize.settings import BudgetSettings, SynthesisSettings, VerifySettings
from engrain.synthesize.verify import Verifier
from engrain.synthesize.verify.base import Candidate
from engrain.synthesize.verify.duplicates import NearDuplicate
from engrain.synthesize.verify.seen import Seen
from engrain.synthesize.verify.verifier import filters
from engrain.synthesize.words import words
from engrain.testbed.world import ask, build
from engrain.testbed.writer import STRENGTHS, Writer

REQUESTS = 20
"""About each document."""
REMEMBERED = 1_000_000
PASSES = 5

Judged = tuple[Piece, TextKind, Window]


def main() -> int:
    """Measure all of it."""
    world = build(seed=0, split="target", documents=60)
    guard = LeakGuard(
        Question(id=str(number), text=asked.text, answer=asked.answer)
        for number, asked in enumerate(ask(world, seed=0, per_document=4))
    )
    shown = [
        Window(document_id=str(n), title=document.title, number=0, text=document.text, tokens=400)
        for n, document in enumerate(world.documents)
    ]
    figures = []
    for (method, _), bar in zip(
        methods(SynthesisSettings(budget=BudgetSettings(tokens=1)), seed=0),
        (0.15, None),
        strict=True,
    ):
        judged = written(method, shown)
        length = statistics.mean(len(words(f"{p.question} {p.text}")) for p, _, _ in judged)
        figures.append(
            Figure(
                name=f"words of a text, {method.name}", value=length, unit="words", n=len(judged)
            )
        )
        figures.append(whole(method.name, guard, judged, bar))
        figures += parts(method.name, guard, judged)
    figures.append(memory())
    return report("verify", figures)


def written(method: Method, shown: Sequence[Window]) -> list[Judged]:
    """What the strong writer writes, round by round."""
    writer = Writer(strength=STRENGTHS["strong"])
    lists = {}
    for window in shown:
        preparation = method.preparation
        made = (
            ()
            if preparation is None
            else preparation.parse(writer.reply(preparation.plan(window, 0)))
        )
        lists[window.document_id] = Known(lists=(made,))
    return [
        (piece, method.kind, window)
        for number in range(REQUESTS)
        for window in shown
        for piece in method.parse(
            writer.reply(method.plan(window, lists[window.document_id], number)), window
        ).pieces
    ]


def whole(name: str, guard: LeakGuard, judged: Sequence[Judged], bar: float | None) -> Figure:
    """All filters together, as the stage calls them."""

    def once() -> None:
        verifier = Verifier(guard, VerifySettings())
        for piece, kind, window in judged:
            verifier.fault(piece, kind, window)

    return figure(f"all filters, {name}", once, len(judged), bar)


def parts(name: str, guard: LeakGuard, judged: Sequence[Judged]) -> list[Figure]:
    """Each filter alone; splitting a text into words, which they share, is a line of its own."""

    def split() -> None:
        for one in judged:
            Candidate(*one)

    def guarded() -> None:
        for candidate in candidates:
            guard.find(candidate.folded)
            guard.longest(candidate.folded)

    candidates = [Candidate(*one) for one in judged]
    found = [
        figure(f"  words, {name}", split, len(judged)),
        figure(f"  leak guard, {name}", guarded, len(judged)),
    ]
    for number, one in enumerate(filters(VerifySettings())):

        def judge(number: int = number) -> None:
            fresh = filters(VerifySettings())[number]
            for candidate in candidates:
                fresh.judge(candidate)

        found.append(figure(f"  {type(one).__name__}, {name}", judge, len(judged)))
    return found


def figure(name: str, once: Callable[[], None], n: int, bar: float | None = None) -> Figure:
    """CPU time for each text: the median of a few passes after a first, with their range."""
    once()
    taken = []
    for _ in range(PASSES):
        started = time.process_time()
        once()
        taken.append(1000 * (time.process_time() - started) / n)
    return Figure(
        name=name,
        value=statistics.median(taken),
        unit="ms/text",
        n=n,
        low=min(taken),
        high=max(taken),
        bar=bar,
        at_most=True,
    )


def memory() -> Figure:
    """Of the process, for each text whose keys both filters of duplicates remember."""
    keys = random.Random(0)
    process = psutil.Process()
    near, same = Seen(10**9), Seen(10**9)
    before = process.memory_info().rss
    for _ in range(REMEMBERED):
        near.add([keys.getrandbits(64) | 1 for _ in range(NearDuplicate.KEYS)])
        same.add([keys.getrandbits(64) | 1])
    used = process.memory_info().rss - before
    return Figure(
        name="memory of a remembered text",
        value=used / REMEMBERED,
        unit="bytes/text",
        n=REMEMBERED,
        bar=250,
        at_most=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())
