"""The splitter loses nothing and cuts where a reader would."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from engrain.records import Document
from engrain.retrieve.chunks import passages, split
from engrain.retrieve.settings import RetrievalSettings

# Texts that have every place to cut: words, sentences, lines, paragraphs, and stretches without
# any.
TEXTS = st.lists(
    st.sampled_from(
        ["a", "word ", "End. ", "line\n", "stop.\n\n", " ", "\n", "x" * 40, "\u4e2d\u3002"]
    )
).map("".join)


@settings(deadline=None, max_examples=50)
@given(TEXTS | st.text(), st.integers(1, 60))
def test_chunks_joined_are_the_text_and_none_is_too_long(text, size):
    chunks = split(text, size)
    assert "".join(text[start:end] for start, end in chunks) == text
    assert all(0 < end - start <= size for start, end in chunks)


@settings(deadline=None, max_examples=50)
@given(TEXTS, st.integers(2, 60), st.integers(0, 30))
def test_with_overlap_chunks_still_cover_the_text_in_order(text, size, overlap):
    overlap = min(overlap, size // 2)
    chunks = split(text, size, overlap)
    assert all(0 < end - start <= size for start, end in chunks)
    if text:
        assert (chunks[0][0], chunks[-1][1]) == (0, len(text))
    for (_, end), (start, later) in pairwise(chunks):
        assert end - overlap <= start <= end < later


def test_two_neighbours_never_fit_into_one_chunk():
    text = "A sentence of words. " * 100
    chunks = split(text, 100)
    assert all(later - start > 100 for (start, _), (_, later) in pairwise(chunks))


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("One par.\n\nTwo par.\n\nThree.", 12, ["One par.\n\n", "Two par.\n\n", "Three."]),
        ("line one\nline two", 10, ["line one\n", "line two"]),
        ("First one. Second one! Third?", 12, ["First one. ", "Second one! ", "Third?"]),
        ("some words here", 6, ["some ", "words ", "here"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("fits", 10, ["fits"]),
        ("", 10, []),
    ],
)
def test_cuts_fall_at_the_best_place_there_is(text, size, expected):
    assert [text[start:end] for start, end in split(text, size)] == expected


def test_an_overlap_repeats_whole_words_as_far_as_they_fit():
    text = "alpha beta gamma delta epsilon"
    chunks = ["alpha ", "alpha beta ", "beta gamma ", "gamma delta ", "delta epsilon"]
    assert [text[s:e] for s, e in split(text, 16, 6)] == chunks
    assert [text[s:e] for s, e in split(text, 16, 4)] == ["alpha beta ", "gamma delta ", "epsilon"]


@settings(deadline=None, max_examples=50)
@given(TEXTS)
def test_passages_hold_every_character_that_is_not_white_space_where_they_say(text):
    document = Document(id="d", title="T", source="s", text=text, sha256="")
    found = passages([document], RetrievalSettings(chunk_characters=16))
    assert "".join("".join(one.text.split()) for one in found) == "".join(text.split())
    for number, one in enumerate(found):
        assert text[one.start : one.start + len(one.text)] == one.text == one.text.strip() != ""
        assert (one.id, one.document_id, one.title) == (f"d#{number}", "d", "T")


def test_a_long_text_without_a_place_to_cut_takes_no_long_time():
    assert len(split("x" * 2_000_000, 1024)) == 1954


def test_an_overlap_without_room_is_refused():
    with pytest.raises(ValidationError, match="overlap 600 is more than half"):
        RetrievalSettings(chunk_characters=1024, overlap=600)
