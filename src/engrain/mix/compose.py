"""Which texts, and in which order: budgets that are nested and cover every document evenly.

Pure: knows the length and origin of each text, not its words; knows nothing of tokenizers or files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

Component = str
"""A component's name: the recipe's, or `replay`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One text of the stream: where its tokens lie, and where it comes from."""

    id: str
    component: Component
    document_id: str
    """The source document; empty for replay."""
    method: str
    start: int
    """Of its tokens in the pool."""
    length: int
    prompt: int = 0
    """Its leading tokens that the loss leaves out."""
    whole: bool = False
    """Cut only where it is longer than a sequence."""
    parts: tuple[Item, ...] = ()
    """Of a stitched document: the texts of which it consists, in order; their tokens are its."""


def seeded_order(items: Iterable[Item], seed: int) -> list[Item]:
    """The one order from which every budget takes its prefix.

    Every prefix holds nearly the same share of each document's texts (of each method), so a smaller
    budget is a thinner picture of the same corpus: within such a group, texts are shuffled and
    spread over the whole order, each at a random place in its own stretch.
    """
    texts = list(items)
    codes: dict[tuple[str, str], int] = {}
    group = np.array(
        [codes.setdefault((item.document_id, item.method), len(codes)) for item in texts], np.int64
    )
    sizes = np.bincount(group, minlength=len(codes))
    by_group = _sorted(texts, group, _uniform(texts, seed, "rank"))
    first = np.cumsum(sizes) - sizes  # where each group begins in that order
    rank = np.empty(len(texts))
    rank[by_group] = np.arange(len(texts)) - first[group[by_group]]
    place = (rank + _uniform(texts, seed, "place")) / sizes[group]
    return [texts[index] for index in _sorted(texts, np.zeros_like(group), place).tolist()]


def _sorted(texts: Sequence[Item], group: Integers, number: Floats) -> Integers:
    """Indices by group, number and, for the rare equal ones, id."""
    order = np.lexsort((number, group))
    equal = (np.diff(group[order]) == 0) & (np.diff(number[order]) == 0)
    if equal.any():
        keys = list(zip(group.tolist(), number.tolist(), strict=True))
        order = np.array(sorted(order.tolist(), key=lambda index: (*keys[index], texts[index].id)))
    return order


def prefix(items: Sequence[Item], tokens: float) -> list[Item]:
    """The first items with `tokens` tokens in all, to the nearest text."""
    taken: list[Item] = []
    total = 0
    for item in items:
        if total + item.length / 2 > tokens:
            break
        taken.append(item)
        total += item.length
    return taken


def repeated(items: Sequence[Item], tokens: float, times: int) -> list[Item]:
    """The first items, each `times` times, with `tokens` tokens in all, to the nearest text.

    All of them stand once before any stands twice, in the same order: repetitions are as far apart
    as can be. The last one may stand less often. A smaller number of tokens gives a part of these.
    """
    if times == 1:
        return prefix(items, tokens)
    taken: list[Item] = []
    total = 0
    for item in items:
        if total + times * item.length > tokens:
            break
        taken.append(item)
        total += times * item.length
    rounds = [taken] * times
    if len(taken) < len(items):
        last = items[len(taken)]
        more = min(times, round((tokens - total) / last.length))
        ending = {number * times // more for number in range(more)}
        rounds = [taken + [last] * (number in ending) for number in range(times)]
    return [item for once in rounds for item in once]


def as_needed(items: Sequence[Item], tokens: float) -> list[Item]:
    """The items in their order, over and over, to `tokens` tokens, to the nearest text."""
    whole = tokens_of(items)
    times = int(tokens // whole)
    return [*items] * times + prefix(items, tokens - times * whole)


def tokens_of(items: Iterable[Item]) -> int:
    """Their tokens, those of repetitions too."""
    return sum(item.length for item in items)


def uniform(seed: int, purpose: str, id: str) -> float:
    """A number in [0, 1) that depends on nothing else: another text more or less moves no other."""
    return int.from_bytes(_digest(_start(seed, purpose), id), "big") / 2**64


def _uniform(texts: Sequence[Item], seed: int, purpose: str) -> Floats:
    start = _start(seed, purpose)
    digests = b"".join([_digest(start, item.id) for item in texts])
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2**64


def _start(seed: int, purpose: str) -> bytes:
    return f"{seed}\0{purpose}\0".encode()


def _digest(start: bytes, id: str) -> bytes:
    return hashlib.blake2b(start + id.encode(), digest_size=8).digest()
