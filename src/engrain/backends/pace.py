"""How many requests one endpoint gets at a time, and when: learnt from how it answers.

Arithmetic on times that are passed in: knows no clock, no event loop and no HTTP (`line.py` waits).
Only timing depends on it, never a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engrain.backends.limits import Allowance, Taken

# In flight at first; doubled every round trip, as TCP's slow start does, while it pays.
_START = 32
# After a refusal the limit doubles again up to this share of what it was, then grows by this share
# of that in a round trip, at least by one: TCP's recovery with CUBIC's memory of the last limit.
_SOON, _STEP = 3 / 4, 1 / 8
# Replies while fewer of the allowed requests were in flight than this say nothing about the limit.
_USED = 0.75
# A limit is judged when it is so many times the last one that paid. It pays where it brought this
# share of the replies a second that a server without a queue would have added.
_JUDGED, _PAYS = 1.5, 0.25
# A limit that did not pay goes back to this many times the one that did: any capacity that the
# judgement can have missed is below it. It stays there for so many round trips.
_BACK, _HOLD = 1.25, 16
_LONGEST_PAUSE = 30.0


@dataclass(slots=True)
class Turn:
    """A request in flight: when it was sent, and what it took of the limits a minute."""

    sent: float
    request: Taken | None
    tokens: Taken | None


@dataclass(slots=True)
class _Round:
    """About one round trip: as many replies as were allowed in flight when it began."""

    began: float
    size: int
    replies: int = 0
    telling: int = 0
    """Replies while the limit was used up."""


class Pace:
    """The admission to one endpoint; every `enter` is followed by one of the four ways to leave.

    The limit on requests in flight starts at 32 and doubles every round trip while replies come
    faster for it. It halves on a refusal (429, 503, a timeout), once for all requests that were
    sent before it halved, soon comes back to three quarters of what it was, and grows by an eighth
    of that a round trip from there. A refusal that says when
    to come back, refusals without a reply between them, and an endpoint that cannot be reached
    pause everything.
    """

    def __init__(
        self,
        *,
        most: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        first_wait: float = 0.5,
    ) -> None:
        """Start without any knowledge of the endpoint.

        Args:
            most: Requests in flight, whatever is learnt.
            requests_per_minute: In any 60 seconds; None: no limit.
            tokens_per_minute: Of prompts and replies, estimated when a request is sent and
            corrected when its reply comes; None: no limit.
            first_wait: Seconds of the first pause that no server asked for; doubled for the next.
        """
        self.most = most
        self.in_flight = 0
        self.paused_until = -math.inf
        self.losses = 0
        """How often in a row it could not be reached, in-flight requests counted together."""
        self._limit = float(min(most, _START))
        self._requests = None if requests_per_minute is None else Allowance(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else Allowance(tokens_per_minute)
        self._first_wait = first_wait
        self._threshold = math.inf
        self._cut_at = -math.inf
        self._refusals = 0
        self._round: _Round | None = None
        self._paid: tuple[int, float] | None = None
        self._hold = 0

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return int(self._limit)

    @property
    def load(self) -> float:
        """The share of the limit that is in flight."""
        return self.in_flight / self.limit

    def opens_at(self, tokens: int, now: float) -> float:
        """When a request of about so many tokens may be sent: infinite until another one left."""
        if self.in_flight >= self.limit:
            return math.inf
        at = self.paused_until
        if self._requests is not None:
            at = max(at, self._requests.opens_at(1, now))
        if self._tokens is not None:
            at = max(at, self._tokens.opens_at(tokens, now))
        return at

    def enter(self, tokens: int, now: float) -> Turn:
        """Send a request of about so many tokens."""
        self.in_flight += 1
        if self._round is None:
            self._round = _Round(now, self.limit)
        return Turn(
            sent=now,
            request=None if self._requests is None else self._requests.take(1, now),
            tokens=None if self._tokens is None else self._tokens.take(tokens, now),
        )

    def answered(self, turn: Turn, tokens: int, now: float) -> None:
        """Its reply came, and was of so many tokens in truth (0: the server did not say)."""
        if self._tokens is not None and turn.tokens is not None and tokens:
            self._tokens.settle(turn.tokens, tokens)
        self._refusals = self.losses = 0
        used = self.in_flight >= _USED * self.limit
        self.in_flight -= 1
        if used:
            self._grow()
        round_ = self._round
        if round_ is not None:
            round_.replies += 1
            round_.telling += used
            if turn.sent >= round_.began and round_.replies >= round_.size:
                self._judge(round_, now)
                self._round = _Round(now, self.limit)

    def refused(self, turn: Turn, retry_after: float | None, now: float) -> None:
        """It was told to come back later, after so many seconds where the server said so."""
        self.in_flight -= 1
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + retry_after)
        if turn.sent < self._cut_at:
            return
        if not self._refusals:
            self._threshold = max(1.0, _SOON * self._limit)
        elif retry_after is None:
            self._pause(self._refusals, now)
        self._limit = max(1.0, self._limit / 2)
        self._refusals += 1
        self._forget(now)

    def lost(self, turn: Turn, now: float) -> None:
        """No connection could be made, or the endpoint serves nobody: one request tries it again.

        The pause doubles each time, up to half a minute.
        """
        self.in_flight -= 1
        if turn.sent < self._cut_at:
            return
        if not self.losses:
            self._threshold = max(1.0, self._limit / 2)
        self._limit = 1.0
        self.losses += 1
        self._pause(self.losses, now)
        self._forget(now)

    def left(self) -> None:
        """It ended in some other way, which says nothing about the endpoint's pace."""
        self.in_flight -= 1

    def _pause(self, times: int, now: float) -> None:
        seconds = min(_LONGEST_PAUSE, self._first_wait * 2.0 ** min(times - 1, 30))
        self.paused_until = max(self.paused_until, now + seconds)

    def _forget(self, now: float) -> None:
        """Rates before and after a cut are not comparable."""
        self._cut_at = now
        self._round = self._paid = None
        self._hold = 0

    def _grow(self) -> None:
        if self._limit < self._threshold:
            self._limit += 1
        elif not self._hold:
            self._limit += max(1.0, self._threshold * _STEP) / self._limit
        self._limit = min(self._limit, float(self.most))

    def _judge(self, round_: _Round, now: float) -> None:
        """Whether a larger limit brought more replies a second; if not, go back and wait."""
        self._hold = max(0, self._hold - 1)
        if 2 * round_.telling < round_.replies or now <= round_.began:
            return
        rate = round_.replies / (now - round_.began)
        if self._paid is None or round_.size <= self._paid[0]:
            self._paid = (round_.size, rate)
            return
        size, before = self._paid
        growth = round_.size / size
        if growth < _JUDGED:
            self._paid = (size, (before + rate) / 2)
        elif rate >= before * (1 + _PAYS * (growth - 1)):
            self._paid = (round_.size, rate)
        else:
            self._limit = self._threshold = min(max(_BACK * size, 1.0), float(self.most))
            self._hold = _HOLD
