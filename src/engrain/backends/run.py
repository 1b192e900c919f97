"""Many requests to one backend: bounded in flight, durable before they count, results in order.

Knows backends and the ledger; knows nothing of why the requests are made. Which results the caller
sees, and in which order, depends on the requests and replies alone, never on timing.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engrain.backends.base import Backend, Reply, Request
from engrain.backends.ledger import Ledger
from engrain.errors import ItemError, UserError

Result = Reply | ItemError

# A generator that fails this often is broken, and going on would only spend money and time.
FAILURE_SHARE = 0.2
FAILURES_FROM = 50
"""Answers after which the share is looked at: fewer say little about it."""

# Replies that may wait for an earlier, slower one: bounds memory, and is far more than a healthy
# server needs.
_AHEAD = 1024
# Prompts are some ten thousand characters each, so this many are some 160 MB.
_MOST_AHEAD = 16_000
_TURN = 64
"""Replies from the ledger between which others have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What happened to the requests of one call."""

    from_ledger: int = 0
    asked: int = 0
    failed: int = 0
    """Of those asked."""


async def complete_all(
    backend: Backend,
    requests: Iterable[Request],
    *,
    ledger: Ledger | None,
    concurrency: int,
    on_done: Callable[[Request, Result], None],
) -> Tally:
    """Answer every request once, from the ledger where it can, and hand results to `on_done`.

    Args:
        backend: Answers what the ledger does not hold.
        requests: Taken lazily: at most some thousand are alive at a time.
        ledger: Stores replies before they are handed on; None: nothing is stored.
        concurrency: Requests in flight.
        on_done: Receives each request with its reply, or with the error that made it fail, in the
        order of `requests`.

    Raises:
        EndpointError: At once, when the backend says that every request would fail.
        UserError: When more than a fifth of at least fifty requests asked failed.
    """
    return await _Run(backend, requests, ledger, concurrency, on_done).go()


@dataclass(frozen=True, slots=True)
class _Done:
    index: int
    request: Request
    identity: str
    result: Result
    fresh: bool


class _Run:
    def __init__(
        self,
        backend: Backend,
        requests: Iterable[Request],
        ledger: Ledger | None,
        concurrency: int,
        on_done: Callable[[Request, Result], None],
    ) -> None:
        self._backend = backend
        self._stream = enumerate(requests)
        self._ledger = ledger
        self._concurrency = concurrency
        self._on_done = on_done
        self._ahead = max(_AHEAD, min(16 * concurrency, concurrency + _MOST_AHEAD))
        self._workers: list[asyncio.Task[None]] = []
        self._in_flight: dict[str, asyncio.Future[Result]] = {}
        self._finished: list[_Done] = []
        self._waiting: dict[int, _Done] = {}
        self._delivered = 0
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._tally = Tally()

    async def go(self) -> Tally:
        workers = self._workers
        self._hire(1)
        try:
            while not all(worker.done() for worker in workers):
                await self._wake.wait()
                self._wake.clear()
                self._store()
                self._deliver()
                for worker in workers:
                    if worker.done():
                        worker.result()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._store()
        return self._tally

    def _hire(self, count: int) -> None:
        """Workers come with the work: a batch API allows ten thousand, and few rounds need them."""
        for _ in range(min(count, self._concurrency - len(self._workers))):
            self._workers.append(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        try:
            for index, request in self._stream:
                # Two for each: so many are soon at work as there is work for.
                self._hire(2)
                while index >= self._delivered + self._ahead:
                    await self._moved.wait()
                identity = request.identity(self._backend.model)
                stored = None if self._ledger is None else self._ledger.get(identity)
                twin = self._in_flight.get(identity)
                if stored is not None:
                    self._finished.append(_Done(index, request, identity, stored, fresh=False))
                    # At once: whether the next request is made may depend on what this one brings.
                    self._store()
                    self._deliver()
                    if index % _TURN == 0:
                        await asyncio.sleep(0)
                    continue
                if twin is not None:
                    done = _Done(index, request, identity, await asyncio.shield(twin), fresh=False)
                else:
                    done = _Done(
                        index, request, identity, await self._ask(request, identity), fresh=True
                    )
                self._finished.append(done)
                self._wake.set()
                if done.fresh:
                    # A backend in this process may answer without ever waiting: let the others have
                    # their turn.
                    await asyncio.sleep(0)
        finally:
            self._wake.set()

    async def _ask(self, request: Request, identity: str) -> Result:
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._in_flight[identity] = answer
        result: Result
        try:
            reply = await self._backend.complete(request)
            result = dataclasses.replace(reply, text=_encodable(reply.text))
        except ItemError as error:
            result = error
        answer.set_result(result)
        return result

    def _store(self) -> None:
        """Make what has finished durable; only then may it be delivered."""
        fresh = [done for done in self._finished if done.fresh]
        if self._ledger is not None and fresh:
            replies = [
                (done.identity, done.result) for done in fresh if isinstance(done.result, Reply)
            ]
            failures = [
                (done.identity, str(done.result))
                for done in fresh
                if isinstance(done.result, ItemError)
            ]
            self._ledger.put(replies, failures)
        for done in self._finished:
            if done.fresh:
                del self._in_flight[done.identity]
            self._waiting[done.index] = done
        self._finished.clear()

    def _deliver(self) -> None:
        while (done := self._waiting.pop(self._delivered, None)) is not None:
            self._delivered += 1
            self._count(done)
            self._on_done(done.request, done.result)
        self._moved.set()
        self._moved.clear()

    def _count(self, done: _Done) -> None:
        before, failed = self._tally, isinstance(done.result, ItemError)
        if not done.fresh:
            self._tally = dataclasses.replace(before, from_ledger=before.from_ledger + (not failed))
            return
        tally = dataclasses.replace(before, asked=before.asked + 1, failed=before.failed + failed)
        self._tally = tally
        if failed and tally.asked >= FAILURES_FROM and tally.failed > FAILURE_SHARE * tally.asked:
            raise UserError(
                f"{tally.failed} of {tally.asked} requests to {self._backend.model!r} failed, "
                f"the last one so: {done.result}; what was answered is kept, "
                "so mend the cause and run again"
            )


def _encodable(text: str) -> str:
    """Without lone surrogates, which a model may write and neither SQLite nor Parquet can hold."""
    return text.encode("utf-8", "replace").decode()
