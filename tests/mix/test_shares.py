"""Shares of tokens: of the whole, of every block, at every budget."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engrain.errors import UserError
from engrain.mix.compose import Item, tokens_of
from engrain.mix.pack import pack
from engrain.mix.settings import ComponentSettings, MixtureSettings
from engrain.mix.shares import choose, unused

lengths = st.lists(st.integers(20, 400), min_size=40, max_size=120)


def texts(name: str, sizes: list[int], documents: int = 7) -> list[Item]:
    return [
        Item(f"{name}/{number}", name, f"d{number % documents}", "m", 0, size, whole=name == "qa")
        for number, size in enumerate(sizes)
    ]


def components(*parts: tuple[str, float, object]) -> MixtureSettings:
    """Of name, share and repeats; a name that is no kind of text is of another run."""
    kinds = ("qa", "documents", "source")
    return MixtureSettings(
        components=[
            {
                "name": name,
                "texts": name if name in kinds else "qa",
                "run": None if name in kinds else name,
                "share": share,
                "repeats": repeats,
            }
            for name, share, repeats in parts
        ]
    )


def spread(low: int, high: int, tokens: float, seed: int) -> list[int]:
    draw = Random(seed)
    sizes: list[int] = []
    while tokens > 0:
        sizes.append(draw.randint(low, high))
        tokens -= sizes[-1]
    return sizes


@settings(deadline=None, max_examples=40)
@given(lengths, lengths, lengths, st.integers(1, 4), st.floats(0.1, 0.8), st.integers(0, 3))
def test_shares_are_exact_to_a_text_at_every_budget_and_smaller_ones_are_parts_of_larger(
    pairs, documents, source, times, share, seed
):
    rest = 1 - share
    wanted = components(
        ("qa", share, times), ("documents", rest / 2, 1), ("source", rest / 2, {"at_most": 1000})
    )
    available = {
        "qa": texts("qa", pairs),
        "documents": texts("documents", documents),
        "source": texts("source", source),
    }
    total = min(
        times * sum(pairs) / share,
        sum(documents) / (rest / 2),
    )
    assume(0.3 * total * min(share, rest / 2) >= 200)  # else there may be no text at all
    before: Counter[str] = Counter()
    for budget in (0.3, 0.31, 0.6, 1.0):
        chosen = choose(wanted, available, budget=budget, seed=seed)
        for part in wanted.parts:
            tokens = tokens_of(chosen[part.name])
            assert abs(tokens - total * part.share * budget) <= 200
        standing = Counter(item.id for items in chosen.values() for item in items)
        assert before <= standing
        assert max(standing[item.id] for item in available["qa"]) <= times
        before = standing


@settings(deadline=None, max_examples=15)
@given(
    st.integers(4, 40),
    st.integers(20, 80),
    st.integers(2, 6),
    st.floats(0.15, 0.85),
    st.integers(0, 5),
)
def test_every_2000_sequences_in_a_row_hold_the_shares_to_a_thousandth(
    pair, document, times, share, seed
):
    # No component is ever further from its share than a sequence: at both ends of 2,000 sequences
    # together, a thousandth of them. For texts up to a third of a sequence; pieces of replay are as
    # long as one.
    length, tokens = 256, 300 * 256
    longest = length // 3
    pairs = spread(pair, min(longest, pair * times), tokens * share, seed)
    documents = spread(document // 2, min(longest, document * times), tokens * (1 - share), seed)
    streams = {
        "qa": texts("qa", pairs),
        "documents": texts("documents", documents),
        "replay": texts("replay", spread(30, length, tokens / 9, seed)),
    }
    assert furthest(streams, length) <= length


def furthest(streams: dict[str, list[Item]], length: int) -> float:
    """By how many tokens a component is ahead of its share, or behind, at worst."""
    totals = {name: tokens_of(items) for name, items in streams.items()}
    done = dict.fromkeys(totals, 0)
    found = 0.0
    for sequence in pack(streams, length):
        for piece in sequence:
            done[piece.item.component] += piece.length
        even = sum(done.values()) / sum(totals.values())
        found = max(found, *(abs(done[name] - even * total) for name, total in totals.items()))
    return found


def test_texts_that_do_not_fit_together_go_before_a_better_fill():
    # Without a bound on how far ahead a sequence looks, shares drift by dozens of sequences.
    draw = Random(0)
    length = 1024
    streams = {
        "qa": texts("qa", [draw.randint(550, 700) for _ in range(3000)]),
        "documents": texts("documents", [draw.randint(60, 320) for _ in range(3000)]),
    }
    assert furthest(streams, length) <= 16_384 + length


def test_the_texts_written_for_the_run_set_its_size_and_the_others_follow():
    available = {
        "qa": texts("qa", [100] * 60),
        "documents": texts("documents", [100] * 30),
        "source": texts("source", [100] * 20),
        "theirs": texts("theirs", [100] * 500),
    }
    wanted = components(
        ("qa", 0.4, 1), ("documents", 0.3, 1), ("source", 0.2, 1), ("theirs", 0.1, 1)
    )
    chosen = choose(wanted, available, budget=1, seed=0)
    assert {name: len(items) for name, items in chosen.items()} == {
        "qa": 40, "documents": 30, "source": 20, "theirs": 10
    }  # fmt: skip
    left = unused(wanted, available)
    assert left["qa"] == pytest.approx(1 / 3)
    assert left["documents"] == 0
    assert left["theirs"] == pytest.approx(0.98)


def test_too_little_text_for_a_share_says_how_much_is_missing_whatever_the_budget():
    available = {"qa": texts("qa", [100] * 60), "source": texts("source", [100] * 4)}
    said = (
        r"source has 400 tokens, and a share of 0.25 of the 8,000 that the texts of this run ask "
        r"for needs 2,000: 1,600 are missing; give it more text, a smaller share, or repeats of 5"
    )
    for budget in (0.01, 1):
        with pytest.raises(UserError, match=said):
            choose(
                components(("qa", 0.75, 1), ("source", 0.25, 1)), available, budget=budget, seed=0
            )
    with pytest.raises(UserError, match=r"400 tokens, each up to 4 times, .* 400 are missing"):
        choose(
            components(("qa", 0.75, 1), ("source", 0.25, {"at_most": 4})),
            available, budget=1, seed=0,
        )  # fmt: skip
    enough = components(("qa", 0.75, 1), ("source", 0.25, {"at_most": 5}))
    assert len(choose(enough, available, budget=1, seed=0)["source"]) == 20


def test_tokens_that_are_asked_for_are_given_or_their_lack_is_an_error():
    available = {"qa": texts("qa", [100] * 60), "documents": texts("documents", [100] * 60)}
    short = MixtureSettings(qa_to_documents="1:3", tokens=4_000)
    chosen = choose(short, available, budget=0.5, seed=0)
    assert {name: tokens_of(items) for name, items in chosen.items()} == {
        "qa": 500, "documents": 1500
    }  # fmt: skip
    with pytest.raises(
        UserError,
        match=r"9,000 that mixture.tokens asks for needs 6,750: 750 are missing; .*lower m",
    ):
        choose(MixtureSettings(qa_to_documents="1:3", tokens=9_000), available, budget=1, seed=0)


def test_where_every_component_may_be_repeated_the_most_plentiful_stands_once():
    available = {"qa": texts("qa", [100] * 60), "documents": texts("documents", [100] * 20)}
    wanted = components(("qa", 0.5, {"at_most": 4}), ("documents", 0.5, {"at_most": 4}))
    chosen = choose(wanted, available, budget=1, seed=0)
    assert Counter(item.id for item in chosen["qa"]).most_common(1)[0][1] == 1
    assert set(Counter(item.id for item in chosen["documents"]).values()) == {3}


def test_components_need_a_kind_that_is_there():
    assert isinstance(components(("qa", 1, 1)).parts[0], ComponentSettings)
    with pytest.raises(UserError, match="component 'source' has no text: there are no source"):
        choose(
            components(("qa", 0.5, 1), ("source", 0.5, 1)),
            {"qa": texts("qa", [10]), "source": []},
            budget=1,
            seed=0,
        )
