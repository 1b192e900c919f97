"""One model at one or several endpoints: when and where each request is tried, and tried again.

Knows paces and retries; what an answer means is `endpoint.py`'s. Which endpoint answers changes no
result but by what the endpoints themselves do differently.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import random
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from engrain.backends.base import Message, Reply, Request, Sampling
from engrain.backends.endpoint import Endpoint, TryAgain
from engrain.backends.line import Line
from engrain.backends.pace import Pace, Turn
from engrain.errors import EndpointError, RequestError

ATTEMPTS = 7
FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
# Prompts that begin alike are about the same document, whose beginning a server may have cached.
# Longer than a system message, shorter than a document.
_PREFIX = 2000
_CHARACTERS_PER_TOKEN = 4

_log = logging.getLogger(__name__)


class Pool:
    """Endpoints that serve the same model.

    A request goes to an endpoint that has room: where it can, to the one that gets all prompts with
    the same beginning, else to the one that is least busy. It is tried `attempts` times, wherever
    there is room: again after 408, 409, 425, 429, 5xx, timeouts, lost connections and bodies that
    are not JSON.

    An endpoint that cannot be used from the start (nobody listens, a refused key, an unknown model,
    a spent quota) raises EndpointError. One that had answered is set aside and tried again after a
    pause that doubles; EndpointError is raised when that happened to all of them, and `attempts`
    times to those that only cannot be reached.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        attempts: int = ATTEMPTS,
        first_wait: float = FIRST_WAIT,
    ) -> None:
        """Connect to nothing yet.

        Args:
            endpoints: At least one; all of the same model.
            attempts: How often one request is tried.
            first_wait: Seconds before the second attempt; doubled for each further one.
        """
        self._endpoints = list(endpoints)
        self._attempts = attempts
        self._first_wait = first_wait
        self._paces = [
            Pace(
                most=endpoint.settings.concurrency,
                requests_per_minute=endpoint.settings.requests_per_minute,
                tokens_per_minute=endpoint.settings.tokens_per_minute,
                first_wait=first_wait,
            )
            for endpoint in self._endpoints
        ]
        self._line = Line(self._paces)
        self._given_up: dict[int, EndpointError] = {}
        self._replies, self._reply_tokens = 0, 0
        # Spreads the retries of many requests over time; no result depends on it.
        self._jitter = random.Random()
        weights = tuple(float(pace.most) for pace in self._paces)
        names = tuple(endpoint.url for endpoint in self._endpoints)
        self._ranked = lru_cache(4096)(lambda prefix: _ranked(prefix, names, weights))

    @property
    def model(self) -> str:
        """The model's name at every endpoint."""
        return self._endpoints[0].model

    async def complete(self, request: Request) -> Reply:
        """Answer one request, with retries."""
        preferred = self._preferred(request)
        index, reason = 0, ""
        for attempt in range(1, self._attempts + 1):
            index, turn = await self._line.turn(self._estimate(request), preferred)
            try:
                reply, wait, reason = await self._try(index, turn, request)
            finally:
                self._line.move()
            if reply is not None:
                return reply
            if wait and attempt < self._attempts:
                await asyncio.sleep(self._wait(1 if wait == "shortly" else attempt))
        raise RequestError(
            f"{self._endpoints[index].url} failed {self._attempts} times, "
            f"the last time so: {reason}"
        )

    async def check(self) -> None:
        """Find out, with at most one tiny request an endpoint, what would make every request fail.

        Raises EndpointError where nobody listens, the key is refused or the model is unknown.
        """
        probe = Request(messages=(Message("user", "Hi"),), sampling=Sampling(max_tokens=1))
        try:
            for endpoint in self._endpoints:
                # Not every server lists all names it answers to (aliases, adapters, models loaded
                # on demand): ask one thing.
                if endpoint.model not in await endpoint.models():
                    alone = Pool([endpoint], attempts=self._attempts, first_wait=self._first_wait)
                    await alone.complete(probe)
        except RequestError as error:
            raise EndpointError(
                f"{error}; try again later, or choose another endpoint or model"
            ) from error
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a later request opens new ones."""
        for endpoint in self._endpoints:
            await endpoint.aclose()

    async def _try(
        self, index: int, turn: Turn, request: Request
    ) -> tuple[Reply | None, Literal["", "shortly", "longer"], str]:
        """One attempt: the reply; or None, how long this request itself should wait, and why.

        After a refusal its endpoint's pace is what makes it wait.
        """
        endpoint, pace = self._endpoints[index], self._paces[index]
        try:
            reply = await endpoint.ask(request)
        except TryAgain as failure:
            now = time.monotonic()
            if failure.unreachable is not None:
                pace.lost(turn, now)
                self._set_aside(index, failure.unreachable, for_good=False)
                return None, "", failure.reason
            if failure.refused:
                pace.refused(turn, failure.retry_after, now)
                return None, "shortly" if failure.retry_after is None else "", failure.reason
            pace.left()
            return None, "longer", failure.reason
        except EndpointError as error:
            pace.lost(turn, time.monotonic())
            if not endpoint.answered:
                raise
            self._set_aside(index, error, for_good=True)
            return None, "", str(error)
        except BaseException:
            pace.left()
            raise
        usage = reply.usage
        pace.answered(turn, usage.prompt_tokens + usage.completion_tokens, time.monotonic())
        self._replies += 1
        self._reply_tokens += usage.completion_tokens
        if self._given_up.pop(index, None) is not None:
            _log.warning("%s answers again", endpoint.url)
        return reply, "", ""

    def _set_aside(self, index: int, error: EndpointError, *, for_good: bool) -> None:
        """Go on with the others; raises where there are none left."""
        if for_good or self._paces[index].losses >= self._attempts:
            if index not in self._given_up and len(self._endpoints) > 1:
                _log.warning("going on with the other endpoints: %s", error)
            self._given_up[index] = error
        if len(self._given_up) == len(self._endpoints):
            raise error

    def _estimate(self, request: Request) -> int:
        """Tokens of the prompt and of the reply it will get; the longest one until any came."""
        prompt = sum(len(message.content) for message in request.messages) // _CHARACTERS_PER_TOKEN
        if self._reply_tokens:
            return prompt + self._reply_tokens // self._replies
        return prompt + request.sampling.max_tokens

    def _preferred(self, request: Request) -> Sequence[int]:
        if len(self._endpoints) == 1:
            return (0,)
        return self._ranked("".join(m.content for m in request.messages)[:_PREFIX])

    def _wait(self, attempt: int) -> float:
        longest = min(_LONGEST_WAIT, self._first_wait * 2.0 ** (attempt - 1))
        return longest * self._jitter.uniform(0.75, 1.0)


def _ranked(prefix: str, names: Sequence[str], weights: Sequence[float]) -> tuple[int, ...]:
    """All endpoints in a prefix's order of preference, each first for its share of prefixes.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998): without an endpoint, only the
    prefixes that preferred it move.
    """

    def score(index: int) -> float:
        digest = hashlib.sha256(f"{names[index]}\n{prefix}".encode("utf-8", "replace")).digest()
        return weights[index] / -math.log((int.from_bytes(digest[:6], "big") + 1) / (2**48 + 1))

    return tuple(sorted(range(len(names)), key=score, reverse=True))
