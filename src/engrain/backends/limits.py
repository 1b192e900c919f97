"""So many units a minute, never more in any minute, and spread over it: arithmetic on times.

Knows no clock and waits for nothing: `pace.py` passes the time in and waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

_MINUTE = 60.0
# Seconds' worth that may be taken at once: timers are coarse, and a server counts by the minute.
_BURST = 1.0


@dataclass(slots=True)
class Taken:
    """Units that were taken, until they leave the window."""

    at: float
    units: int


class Allowance:
    """At most `per_minute` units in any 60 seconds, with bursts of one second's worth.

    A leaky bucket alone (aiolimiter is one) lets a full bucket through on top of a minute's inflow,
    twice the limit in the first minute; so what was taken is also remembered for a minute. Takings
    larger than the limit pass alone: whether to serve them is the server's to say.
    """

    def __init__(self, per_minute: int) -> None:
        """Start with nothing taken."""
        self._per_minute = per_minute
        self._taken: deque[Taken] = deque()
        self._sum = 0
        # When what was taken so far would have flowed in, at the steady rate.
        self._level = float("-inf")

    def opens_at(self, units: int, now: float) -> float:
        """When so many units may be taken, as far as is known; not after `now`: at once."""
        while self._taken and self._taken[0].at <= now - _MINUTE:
            self._sum -= self._taken.popleft().units
        smooth = self._level - _BURST
        excess = self._sum + units - self._per_minute
        if excess <= 0 or not self._taken:
            return smooth
        for entry in self._taken:
            excess -= entry.units
            if excess <= 0:
                return max(smooth, entry.at + _MINUTE)
        return max(smooth, self._taken[-1].at + _MINUTE)

    def take(self, units: int, now: float) -> Taken:
        """Take them, whether or not it is allowed."""
        entry = Taken(now, units)
        self._taken.append(entry)
        self._sum += units
        self._level = max(self._level, now) + self._seconds(units)
        return entry

    def settle(self, entry: Taken, units: int) -> None:
        """Correct an estimate: so many units were taken in truth."""
        self._level += self._seconds(units - entry.units)
        # One that has left the window is not in the sum any more.
        if self._taken and entry.at >= self._taken[0].at:
            self._sum += units - entry.units
            entry.units = units

    def _seconds(self, units: int) -> float:
        return units * _MINUTE / self._per_minute
