"""Gathers requests that wait at the same time into batches, for engines that answer many at once.

Knows futures and event loops; knows nothing of who answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from engrain.backends.base import Reply, Request

# Seconds without another call before a batch is cut: nothing beside a batch, and enough for a
# stage to queue its own.
_QUIET = 0.002


class Call:
    """One request that waits, and where its reply goes."""

    def __init__(self, request: Request, reply: asyncio.Future[Reply]) -> None:
        """Wait with `reply`."""
        self.request = request
        self._reply = reply

    @property
    def answered(self) -> bool:
        """Whether nobody waits any more: it has a reply or an error, or was given up."""
        return self._reply.done()

    def give(self, reply: Reply) -> None:
        """Hand the reply over."""
        if not self._reply.done():
            self._reply.set_result(reply)

    def fail(self, error: BaseException) -> None:
        """Hand the error over instead."""
        if not self._reply.done():
            self._reply.set_exception(error)

    def cancel(self) -> None:
        """Nothing will come."""
        self._reply.cancel()


class Gathering:
    """Hands what waits to `answer`, one batch after the other, and never leaves a call waiting.

    `answer` gives or fails each call; what it raises fails the calls that are left.
    """

    def __init__(
        self, answer: Callable[[Sequence[Call]], Awaitable[None]], *, quiet: float = _QUIET
    ) -> None:
        """Start nothing yet; a batch is cut once nothing more has come for `quiet` seconds."""
        self._answer = answer
        self._quiet = quiet
        self._waiting: list[Call] = []
        self._taken: list[Call] = []
        self._server: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Reply:
        """Answer one request, in a batch with those that wait at the same time."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append(Call(request, reply))
        if self._server is None or self._server.done() or self._server.get_loop() is not loop:
            self._server = asyncio.create_task(self._serve())
            self._server.add_done_callback(self._served)
        return await reply

    async def aclose(self) -> None:
        """Cancel what waits."""
        server, self._server = self._server, None
        if server is not None and not server.done():
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)

    async def _serve(self) -> None:
        """Answer until nobody waits."""
        while True:
            seen = -1
            while seen < len(self._waiting):
                seen = len(self._waiting)
                await asyncio.sleep(self._quiet)
            self._taken, self._waiting = self._waiting, []
            if not self._taken:
                return
            await self._answer(self._taken)

    def _served(self, server: asyncio.Task[None]) -> None:
        """Whatever ended the serving, nobody waits for ever."""
        unanswered = [call for call in self._taken + self._waiting if not call.answered]
        if server.cancelled():
            for call in unanswered:
                call.cancel()
        elif (error := server.exception()) is not None:
            for call in unanswered:
                call.fail(error)
            self._waiting = []
