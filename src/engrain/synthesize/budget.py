"""What was spent, and whether there is more. Knows tokens, requests and money, not methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engrain.backends.base import Reply, Request, Usage
from engrain.backends.settings import Price
from engrain.synthesize.settings import BudgetSettings


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
    """Lets requests through while the caps hold, even if those in flight use all they may.

    So which requests are made depends on replies and never on their timing, and a cap is passed by
    less than the last request, as long as the server keeps to `max_tokens`. Near a cap fewer
    requests are in flight, and in the end one.
    """

    def __init__(self, limits: Limits, spent: Mapping[str, Spent], *, keeps: str = "") -> None:
        """Of the limits, and what all methods have spent, which is looked up each time.

        Args:
            limits: How far the method may go.
            spent: By method; grows as results are taken.
            keeps: The method whose texts are kept; empty for a preparation, which keeps none.
        """
        self._limits, self._spent, self._keeps = limits, spent, keeps
        self._prompt = self._completion = 0

    def open(self) -> bool:
        """Whether one more request may be made now."""
        if self._keeps:
            kept = self._spent[self._keeps].kept_tokens
            if kept + self._completion >= self._limits.tokens:
                return False
        if self._limits.usd is None or self._limits.price is None:
            return True
        used = total(self._spent).usage
        worst = Usage(
            prompt_tokens=used.prompt_tokens + self._prompt,
            cached_prompt_tokens=used.cached_prompt_tokens,
            completion_tokens=used.completion_tokens + self._completion,
        )
        return self._limits.price.cost(worst) < self._limits.usd

    def enter(self, request: Request) -> None:
        """The request is made."""
        self._add(request, 1)

    def leave(self, request: Request) -> None:
        """Its result was taken, so what it used is known."""
        self._add(request, -1)

    def _add(self, request: Request, sign: int) -> None:
        # No tokenizer makes more tokens than there are bytes.
        self._prompt += sign * sum(len(message.content.encode()) for message in request.messages)
        self._completion += sign * request.sampling.max_tokens


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
