"""Evidence counts as retrieved when a reader of the passages could read it, and only then."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engrain.records import Document
from engrain.retrieve.chunks import Passage, passages
from engrain.retrieve.recall import evidence_found
from engrain.retrieve.settings import RetrievalSettings

TEXT = (
    "Ada Wilmot was born in Lorne. She kept bees there.\nLater she moved to Karst and sold honey."
)


def cut(text: str, size: int, overlap: int = 0, name: str = "d") -> list[Passage]:
    document = Document(id=name, title="T", source="s", text=text, sha256="")
    return passages([document], RetrievalSettings(chunk_characters=size, overlap=overlap))


def test_evidence_in_one_passage_is_found_whatever_its_white_space():
    assert evidence_found(["She  kept\nbees"], cut(TEXT, 1024)) is True
    assert evidence_found(["She kept geese"], cut(TEXT, 1024)) is False


def test_evidence_cut_by_a_boundary_counts_when_all_its_parts_are_there_in_any_order():
    found = cut(TEXT, 30)
    assert len(found) > 2
    evidence = ["born in Lorne. She kept bees"]
    assert evidence_found(evidence, found[::-1]) is True
    assert evidence_found(evidence, found[1:]) is False


def test_parts_in_two_documents_are_not_joined():
    first, second = cut("She kept", 100, name="a"), cut("bees there", 100, name="b")
    assert evidence_found(["She kept bees"], first + second) is False
    assert evidence_found(["She kept", "bees there"], first + second) is True


def test_a_gap_between_passages_is_not_read_over_as_one_word():
    found = cut("abcdefgh" * 10, 16)
    assert evidence_found(["abcdefgh" * 10], found) is True
    assert evidence_found(["abcdefgh" * 4], [found[0], found[2]]) is False


def test_without_evidence_or_passages_there_is_nothing_to_claim():
    assert evidence_found([], cut(TEXT, 1024)) is None
    assert evidence_found([" "], cut(TEXT, 1024)) is None
    assert evidence_found(["bees"], []) is False


@settings(deadline=None, max_examples=50)
@given(
    st.text(alphabet="ab .\n", max_size=200),
    st.integers(0, 200),
    st.integers(1, 60),
    st.integers(0, 8),
)
def test_any_stretch_of_the_text_is_found_when_all_passages_are_there(text, start, length, overlap):
    evidence = text[start : start + length]
    found = evidence_found([evidence], cut(text, 16, overlap))
    assert found is (True if evidence.strip() else None)
