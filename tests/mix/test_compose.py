from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from engrain.mix import compose
from engrain.mix.compose import Item, as_needed, prefix, repeated, seeded_order, tokens_of


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


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 50), min_size=3, max_size=40),
    st.integers(1, 6),
    st.floats(0.05, 1),
)
def test_repetitions_are_exact_as_far_apart_as_can_be_and_never_adjacent(lengths, times, part):
    items = [Item(f"t{n}", "qa", "d", "m", 0, size) for n, size in enumerate(lengths)]
    wanted = sum(lengths) * times * part
    taken = repeated(items, wanted, times)
    assert abs(tokens_of(taken) - wanted) <= 25
    counts = Counter(item.id for item in taken)
    *full, last = [counts[item.id] for item in items if item.id in counts] or [0]
    assert set(full) <= {times} and 0 <= last <= times
    if len(counts) > 2:
        assert all(a.id != b.id for a, b in pairwise(taken))
    places: dict[str, list[int]] = {}
    for place, item in enumerate(taken):
        places.setdefault(item.id, []).append(place)
    for found in places.values():
        rounds = times // len(found)
        assert all(b - a >= rounds * (len(counts) - 1) for a, b in pairwise(found))


def test_as_often_as_needed_all_stand_once_before_any_stands_twice():
    items = texts(10)
    whole = tokens_of(items)
    assert as_needed(items, whole / 2) == prefix(items, whole / 2)
    taken = as_needed(items, 2.5 * whole)
    assert taken[:20] == [*items, *items]
    assert taken[20:] == prefix(items, whole / 2)


def plainly(items: list[Item], seed: int) -> list[Item]:
    """The order as it is defined, without arrays."""

    def drawn(purpose: str, id: str) -> float:
        digest = hashlib.blake2b(f"{seed}\0{purpose}\0{id}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    groups: dict[tuple[str, str], list[Item]] = {}
    for item in items:
        groups.setdefault((item.document_id, item.method), []).append(item)
    placed = []
    for group in groups.values():
        for rank, item in enumerate(sorted(group, key=lambda one: (drawn("rank", one.id), one.id))):
            placed.append(((rank + drawn("place", item.id)) / len(group), item.id, item))
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.text(max_size=3), st.integers(0, 3), st.integers(0, 2)), max_size=60))
def test_the_order_is_the_one_that_is_defined(drawn):
    items = [
        Item(f"{id}{number}", "qa", f"d{document}", f"m{method}", 0, 1)
        for number, (id, document, method) in enumerate(drawn)
    ]
    for seed in (0, 1):
        assert seeded_order(items, seed) == plainly(items, seed)


def test_texts_that_draw_the_same_number_go_by_their_ids(monkeypatch):
    monkeypatch.setattr(compose, "_digest", lambda start, id: b"\0" * 8)
    items = texts(40, documents=3)
    order = seeded_order(items, 0)
    assert order == seeded_order(items[::-1], 0)
    assert [item.id for item in order[:3]] == sorted(item.id for item in order[:3])


def test_no_texts_have_an_order_too():
    assert seeded_order([], 0) == []
