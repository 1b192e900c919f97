from __future__ import annotations

from collections import Counter
from random import Random

from engrain.mix.compose import Item, prefix, seeded_order


def texts(count: int, documents: int = 5) -> list[Item]:
    draw = Random(count)
    return [
        Item(f"qa{number}", "qa", f"d{number % documents}", "m", 0, draw.randint(20, 80))
        for number in range(count)
    ]


def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_files():
    items = texts(200)
    shuffled = Random(3).sample(items, len(items))
    assert seeded_order(items, 0) == seeded_order(shuffled, 0)
    assert seeded_order(items, 0) != seeded_order(items, 1)


def test_every_prefix_holds_each_document_s_share():
    ordered = seeded_order(texts(500), 0)
    for stop in range(50, 501, 50):
        counts = Counter(item.document_id for item in ordered[:stop])
        assert all(abs(count - stop / 5) <= 2 for count in counts.values()), (stop, counts)


def test_a_prefix_is_as_long_as_asked_to_the_nearest_text():
    ordered = seeded_order(texts(500), 0)
    for tokens in range(0, 20_000, 777):
        taken = prefix(ordered, tokens)
        assert abs(sum(item.length for item in taken) - tokens) <= 40
        assert taken == ordered[: len(taken)]
