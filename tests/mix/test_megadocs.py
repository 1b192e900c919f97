from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from engrain.mix.compose import Item
from engrain.mix.megadocs import joined, stitch


def texts(count: int, documents: int, times: int = 1) -> list[Item]:
    found = [Item(f"t{n}", "qa", f"d{n % documents}", "m", 7 * n, 7) for n in range(count)]
    return found * times


def sources(documents: int, times: int = 1) -> list[Item]:
    found = [Item(f"s{n}", "source", f"d{n}", "source", 1000 * n, 90) for n in range(documents)]
    return found * times


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 60), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_every_text_stands_with_its_document_as_often_as_it_should_and_never_twice_in_one(
    count, documents, times, of_source
):
    given_texts, given_sources = texts(count, documents, times), sources(documents, of_source)
    megadocs = stitch(given_texts, given_sources, 0)
    for megadoc in megadocs:
        assert len({item.document_id for item in megadoc}) == 1
        assert max(Counter(megadoc).values()) == 1
    stitched = Counter(item for megadoc in megadocs for item in megadoc)
    assert stitched == Counter([*given_texts, *given_sources])


def test_the_source_document_stands_last_and_nowhere_else():
    for megadoc in stitch(texts(60, 5, times=3), sources(5, times=3), 0):
        assert [item.component for item in megadoc] == ["qa"] * 12 + ["source"]


def test_texts_that_stand_once_are_dealt_evenly_over_a_repeated_document():
    megadocs = stitch(texts(60, 5), sources(5, times=4), 0)
    assert [len(megadoc) for megadoc in megadocs] == [4] * 20


def test_documents_are_shuffled_by_the_seed_and_their_megadocs_far_apart():
    order = [megadoc[0].document_id for megadoc in stitch(texts(80, 8), sources(8, times=4), 0)]
    other = [megadoc[0].document_id for megadoc in stitch(texts(80, 8), sources(8, times=4), 1)]
    assert order == order[:8] * 4 and len(set(order[:8])) == 8
    assert order != other
    within: dict[str, list[str]] = defaultdict(list)
    for megadoc in stitch(texts(80, 2), sources(2), 0):
        within[megadoc[0].document_id] += [item.id for item in megadoc[:-1]]
    assert all(ids != sorted(ids, key=lambda id: int(id[1:])) for ids in within.values())


def test_a_document_without_its_source_in_this_budget_goes_without():
    megadocs = stitch(texts(4, 2), sources(2)[:1], 0)
    ends = {megadoc[0].document_id: megadoc[-1].component for megadoc in megadocs}
    assert ends == {"d0": "source", "d1": "qa"}


def test_joined_its_parts_lie_where_its_tokens_lie():
    parts = [*texts(3, 1), *sources(1)]
    whole = joined(parts, 4, 5000)
    assert (whole.id, whole.start, whole.length) == ("stitched/4", 5000, 111)
    assert not whole.whole
    assert [(part.id, part.start, part.length) for part in whole.parts] == [
        ("t0", 5000, 7), ("t1", 5007, 7), ("t2", 5014, 7), ("s0", 5021, 90)
    ]  # fmt: skip
