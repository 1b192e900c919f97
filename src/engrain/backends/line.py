"""Where requests wait for their turn, at one endpoint or at the one of several that has room.

Knows paces and the event loop; knows nothing of HTTP or of what a request says.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engrain.backends.pace import Pace, Turn

# A request goes to the endpoint it prefers unless that one is busier than the idlest by this share
# of its limit.
_BUSIER = 0.25


@dataclass(slots=True)
class _Waiting:
    tokens: int
    admitted: asyncio.Future[tuple[int, Turn]]


class Line:
    """One queue for each endpoint; an endpoint with room and no queue serves the longest other one.

    So every endpoint is kept busy, and requests that prefer the same endpoint mostly share it.
    """

    def __init__(self, paces: Sequence[Pace], clock: Callable[[], float] = time.monotonic) -> None:
        """Take the endpoints' paces; `clock` tells the time that they are asked with."""
        self._paces = paces
        self._clock = clock
        self._queues: list[deque[_Waiting]] = [deque() for _ in paces]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, tokens: int, preferred: Sequence[int]) -> tuple[int, Turn]:
        """Wait until a request of about so many tokens may be sent; it counts as sent from then on.

        Args:
            tokens: Of prompt and reply, estimated.
            preferred: Every endpoint's index, the best one first.

        Returns:
            The index of the endpoint that takes it, and its turn there.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What waited in a loop that was closed waits no more.
            self._loop, self._timer = loop, None
            for queue in self._queues:
                queue.clear()
        now = self._clock()
        index = self._room(tokens, preferred, now)
        if index is not None:
            return index, self._paces[index].enter(tokens, now)
        waiting = _Waiting(tokens, loop.create_future())
        first = next((i for i in preferred if self._paces[i].paused_until <= now), preferred[0])
        self._queues[first].append(waiting)
        self.move()
        try:
            return await waiting.admitted
        except asyncio.CancelledError:
            if waiting.admitted.done() and not waiting.admitted.cancelled():
                self._paces[waiting.admitted.result()[0]].left()
                self.move()
            raise

    def move(self) -> None:
        """Admit whoever may go now; to be called after every request that ended."""
        now, wake = self._clock(), math.inf
        for index, pace in enumerate(self._paces):
            while (queue := self._next(index)) is not None:
                waiting = queue[0]
                opens = pace.opens_at(waiting.tokens, now)
                if opens > now:
                    wake = min(wake, opens)
                    break
                queue.popleft()
                waiting.admitted.set_result((index, pace.enter(waiting.tokens, now)))
        self._wake_at(wake, now)

    def _room(self, tokens: int, preferred: Sequence[int], now: float) -> int | None:
        """The endpoint for a new request that need not wait; None: it must."""
        if any(self._queues):
            self.move()
        open_ = [
            i
            for i in preferred
            if not self._queues[i] and self._paces[i].opens_at(tokens, now) <= now
        ]
        if not open_:
            return None
        idlest = min(open_, key=lambda i: self._paces[i].load)
        near = self._paces[open_[0]].load <= self._paces[idlest].load + _BUSIER
        return open_[0] if near else idlest

    def _next(self, index: int) -> deque[_Waiting] | None:
        """The queue that an endpoint with room should serve, its head still waiting."""
        for queue in (self._queues[index], max(self._queues, key=len)):
            while queue and queue[0].admitted.done():
                queue.popleft()
            if queue:
                return queue
        return None

    def _wake_at(self, at: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at < math.inf and self._loop is not None:
            self._timer = self._loop.call_later(max(at - now, 0.0), self.move)
