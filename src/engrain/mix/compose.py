"""Which texts, and in which order: budgets that are nested and cover every document evenly.

Pure: knows the length and origin of each text, not its words; knows nothing of tokenizers or files.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    groups: dict[tuple[str, str], list[tuple[float, Item]]] = defaultdict(list)
    for item in items:
        groups[item.document_id, item.method].append((_uniform(seed, "rank", item.id), item))
    placed = []
    for group in groups.values():
        for rank, (_, item) in enumerate(sorted(group, key=lambda pair: (pair[0], pair[1].id))):
            place = (rank + _uniform(seed, "place", item.id)) / len(group)
            placed.append((place, item.id, item))
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]


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


def _uniform(seed: int, purpose: str, id: str) -> float:
    """A number in [0, 1) that depends on nothing else: another text more or less moves no other."""
    digest = hashlib.blake2b(f"{seed}\0{purpose}\0{id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
