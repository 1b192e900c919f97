"""What was spent, and whether there is more. Knows tokens, requests and money, not methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from engrain.backends.base import Reply, Request, Usage
from engrain.backends.settings import Price
from engrain.synthesize.settings import BudgetSettings

# Of the greatest deviation that replies of a mean length can have, which is some three times what
# they do have.
_DEVIATIONS = 2.0


@dataclass(slots=True)
class Spent:
    """A running sum."""

    requests: int = 0
    failures: int = 0
    usage: Usage = field(default_factory=Usage)
    kept_tokens: int = 0
    """Completion tokens of the texts that were kept."""

    def count(self, reply: Reply | None) -> None:
        """Add one request: its reply, or None where it failed."""
        self.requests += 1
        if reply is None:
            self.failures += 1
            return
        total, new = self.usage, reply.usage
        self.usage = Usage(
            prompt_tokens=total.prompt_tokens + new.prompt_tokens,
            cached_prompt_tokens=total.cached_prompt_tokens + new.cached_prompt_tokens,
            completion_tokens=total.completion_tokens + new.completion_tokens,
        )

    def mean(self) -> Usage:
        """Of one request, rounded up: nothing where there was none."""
        each = max(1, self.requests)
        return Usage(
            prompt_tokens=-(-self.usage.prompt_tokens // each),
            cached_prompt_tokens=self.usage.cached_prompt_tokens // each,
            completion_tokens=-(-self.usage.completion_tokens // each),
        )

    def as_json(self, price: Price | None) -> dict[str, int | float | None]:
        """For `usage.json`; money is None where there is no price."""
        return {
            "requests": self.requests,
            "failures": self.failures,
            "prompt_tokens": self.usage.prompt_tokens,
            "cached_prompt_tokens": self.usage.cached_prompt_tokens,
            "completion_tokens": self.usage.completion_tokens,
            "kept_tokens": self.kept_tokens,
            "usd": None if price is None else round(price.cost(self.usage), 6),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far one method may go."""

    tokens: float
    """That it may keep."""
    requests: int | None
    """That all methods together may have made when it ends; None: as many as it wants."""
    usd: float | None
    """That all methods together may have spent when it ends; None: not limited."""
    price: Price | None

    @classmethod
    def of(
        cls, budget: BudgetSettings, price: Price | None, *, share: float, share_so_far: float
    ) -> Limits:
        """The limits of a method with `share`, which those before it make `share_so_far`."""
        return cls(
            tokens=budget.tokens * share,
            requests=None if budget.requests is None else round(budget.requests * share_so_far),
            usd=None if budget.usd is None else budget.usd * share_so_far,
            price=price,
        )

    def requests_left(self, everything: Spent) -> int | None:
        """Requests that may still be made; None: as many as wanted."""
        return None if self.requests is None else max(0, self.requests - everything.requests)

    def affordable(self, everything: Spent, expected: Usage) -> int | None:
        """How many requests of `expected` usage the money left pays for; None: any number."""
        if self.usd is None or self.price is None:
            return None
        each = self.price.cost(expected)
        left = self.usd - self.price.cost(everything.usage)
        return None if each == 0 else max(0, int(left / each))


class Gate:
    """Lets one method's requests through while the caps will hold once those in flight are counted.

    Those are reckoned at about what the requests before them used. Results are taken in the order
    of the requests, and none after the caps were reached: so what is taken is what one request at a
    time would have brought, whatever the timing, and passes a cap by less than one reply. What is
    paid passes it by no more than the requests in flight, in the rare case that they use more than
    was reckoned.
    """

    def __init__(
        self, limits: Limits, spent: Mapping[str, Spent], name: str, *, keeps: bool = False
    ) -> None:
        """Of the limits, and what all methods have spent, which is looked up each time.

        Args:
            limits: How far the method may go.
            spent: By method; grows as results are taken.
            name: Under which these requests are counted there.
            keeps: Whether their texts are kept, and so count against the limit on tokens.
        """
        self._limits, self._spent, self._name, self._keeps = limits, spent, name, keeps
        self._in_flight = self._prompt = self._completion = 0

    def open(self) -> bool:
        """Whether one more request may be made now."""
        return not self._passed(self._in_flight)

    def reached(self) -> bool:
        """Whether what was taken has reached a cap, so that nothing more may be taken."""
        return self._passed(0)

    def enter(self, request: Request) -> None:
        """The request is made."""
        self._add(request, 1)

    def leave(self, request: Request) -> None:
        """Its result is there: what it used is counted, or not taken."""
        self._add(request, -1)

    def _passed(self, in_flight: int) -> bool:
        """Whether the caps are reached with so many requests in flight: all of them, or none."""
        own, limits = self._spent[self._name], self._limits
        if self._keeps:
            most = float(self._completion)
            flight = _reckoned(in_flight, most, of=own.requests, used=own.kept_tokens)
            if own.kept_tokens + flight >= limits.tokens:
                return True
        if limits.usd is None or limits.price is None:
            return False
        cost = limits.price.cost
        most = cost(Usage(prompt_tokens=self._prompt, completion_tokens=self._completion))
        flight = _reckoned(in_flight, most, of=own.requests, used=cost(own.usage))
        return cost(total(self._spent).usage) + flight >= limits.usd

    def _add(self, request: Request, sign: int) -> None:
        self._in_flight += sign
        # No tokenizer makes more tokens than there are bytes.
        self._prompt += sign * sum(len(message.content.encode()) for message in request.messages)
        self._completion += sign * request.sampling.max_tokens


def _reckoned(count: int, most: float, *, of: int, used: float) -> float:
    """What so many requests will hardly ever use more than, and at most `most`.

    `of` requests before them have `used` so much; their mean is taken as if one more had used the
    most. What lies between 0 and b with mean a has a variance of at most a(b - a) (Bhatia and Davis
    2000), and the mean is itself uncertain: no usual shape of replies is supposed.
    """
    if not count:
        return 0.0
    longest = most / count
    mean = min(longest, (used + longest) / (of + 1))
    variance = count * (1 + count / (of + 1)) * mean * (longest - mean)
    return min(most, count * mean + _DEVIATIONS * math.sqrt(variance))


def total(parts: Mapping[str, Spent]) -> Spent:
    """The sum of all methods."""
    everything = Spent()
    for part in parts.values():
        everything.requests += part.requests
        everything.failures += part.failures
        everything.kept_tokens += part.kept_tokens
        everything.usage = Usage(
            prompt_tokens=everything.usage.prompt_tokens + part.usage.prompt_tokens,
            cached_prompt_tokens=everything.usage.cached_prompt_tokens
            + part.usage.cached_prompt_tokens,
            completion_tokens=everything.usage.completion_tokens + part.usage.completion_tokens,
        )
    return everything
