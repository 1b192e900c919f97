from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from engrain.mix.compose import Item, prefix, seeded_order
from engrain.mix.pack import pack


def items(component: str, count: int, draw: Random) -> list[Item]:
    return [
        Item(f"{component}{n}", component, f"d{n % 12}", component, 0, draw.randint(20, 300))
        for n in range(count)
    ]


@pytest.mark.parametrize("share", [1 / 8, 1 / 2])
def test_the_largest_mixture_begins_with_the_smaller_budgets_but_for_a_few_texts(share):
    draw = Random(0)
    components = {name: items(name, 2000, draw) for name in ("qa", "documents")}
    orders = {name: seeded_order(texts, seed=0) for name, texts in components.items()}
    least = min(sum(item.length for item in order) for order in orders.values())
    whole = {name: prefix(order, least) for name, order in orders.items()}
    small = {name: prefix(order, least * share) for name, order in orders.items()}
    wanted = Counter({item.id: item.length for order in small.values() for item in order})

    stream = list(pack(whole, 512))
    seen: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for sequence in stream[: round(share * len(stream))]:
        for piece in sequence:
            seen[piece.item.id] += piece.length
            tokens[piece.item.component] += piece.length
    assert tokens["qa"] / tokens.total() == pytest.approx(0.5, abs=2e-3)
    # Packing looks ahead for what fills a sequence, so some texts come early, and others late.
    moved = wanted - seen
    assert len(moved) < 50, len(moved)
    assert (seen - wanted).total() < 50 * 300
