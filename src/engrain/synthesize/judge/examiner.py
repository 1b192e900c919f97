"""Asks the generator about what it wrote, within what is left of the caps.

Requests go through the stage's own desk and ledger: they are counted with the others, under names
of their own, and nothing is asked twice. Knows nothing of what is asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from engrain.backends.base import Reply, Request, Sampling, Usage
from engrain.backends.run import Result
from engrain.progress import Progress
from engrain.store import RowWriter, fingerprint
from engrain.synthesize.base import Asked
from engrain.synthesize.budget import Gate, Limits, total
from engrain.synthesize.collect import asked, counted
from engrain.synthesize.rounds import Desk

Subject = TypeVar("Subject")

RANKS = 2**64
"""Ranks are below this."""


@dataclass(frozen=True, slots=True)
class Inquiry(Generic[Subject]):
    """One request, and what it is about."""

    subject: Subject
    window: int
    """Of the document; 0 where the prompt shows none."""
    request: Request


class Examiner:
    """Makes requests as far as the caps allow; `rows` takes one for each, for tracing."""

    def __init__(
        self,
        desk: Desk,
        limits: Limits,
        rows: RowWriter[Asked],
        progress: Progress,
        *,
        max_tokens: int,
    ) -> None:
        """`limits` are those of the whole stage; a reply has at most `max_tokens`."""
        self._desk, self._limits, self._rows = desk, limits, rows
        self._progress = progress
        self.sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
        """Greedy: a verdict is not drawn by lot."""
        self.from_ledger = 0

    def affordable(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        """About how many requests of this size the caps leave; None: any number."""
        everything = total(self._desk.collector.spent)
        usage = Usage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        left = (
            self._limits.requests_left(everything),
            self._limits.affordable(everything, usage),
        )
        return min((limit for limit in left if limit is not None), default=None)

    def why_stopped(self, each: int) -> str:
        """Which cap ended the asking of what takes so many requests each."""
        left = self._limits.requests_left(total(self._desk.collector.spent))
        spent = left is not None and left < each
        return f"the limit on {'requests' if spent else 'money'} was reached"

    async def ask(
        self,
        inquiries: Iterable[Inquiry[Subject]],
        take: Callable[[Subject, Reply | None], None],
        *,
        name: str,
        count: int,
    ) -> None:
        """Make the requests in order; `take` gets each one's reply, None where it failed.

        They are counted under `name`, and the user is shown how many of so many are answered.
        """
        waiting: deque[Inquiry[Subject]] = deque()

        def planned() -> Iterator[tuple[int, Request]]:
            for inquiry in inquiries:
                waiting.append(inquiry)
                yield inquiry.window, inquiry.request

        def done(window: int, request: Request, result: Result) -> None:
            take(waiting.popleft().subject, self._count(window, request, result))
            bar.advance()

        spent = self._desk.collector.spent
        left = self._limits.requests_left(total(spent))
        gate = Gate(self._limits, spent, name)
        with self._progress.bar(name.replace("_", " "), count, "replies") as bar:
            self.from_ledger += await self._desk.ask(islice(planned(), left), done, gate)

    def _count(self, window: int, request: Request, result: Result) -> Reply | None:
        result = counted(request, result)
        reply = result if isinstance(result, Reply) else None
        lineage = request.lineage
        self._desk.collector.spent[lineage.method].count(reply)
        self._rows.append(
            asked(
                request,
                result,
                request_id=request.identity(self._desk.backend.model),
                document_id=lineage.document_id,
                window=window,
            )
        )
        return reply


def rank(name: str) -> int:
    """Where a text or question stands in the order in which they are drawn, whatever the run."""
    return int(fingerprint(["judge", name]), 16)
