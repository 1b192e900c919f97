"""Documents to passages: a recursive splitter that loses no character.

Knows nothing of queries or scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engrain.records import Document
from engrain.retrieve.settings import RetrievalSettings

# Where a text may be cut, best place first; each pattern ends a piece and stays with it.
_ENDS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n\s*"),
    re.compile(r"[.!?][\"')\]\u201d\u2019]*\s+|[\u3002\uff01\uff1f]\s*"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A part of a document, as it is retrieved and shown to the reader."""

    id: str
    """The document's id and the passage's number in it."""
    document_id: str
    title: str
    """The document's title."""
    text: str
    """Without the white space at its ends."""
    start: int
    """Where `text` starts in the document's text."""


def passages(documents: Iterable[Document], settings: RetrievalSettings) -> list[Passage]:
    """The passages of all documents, in order.

    Together they hold every character that is not white space.
    """
    found: list[Passage] = []
    for document in documents:
        number = 0
        for start, end in split(document.text, settings.chunk_characters, settings.overlap):
            text = document.text[start:end]
            if not text.strip():
                continue
            found.append(
                Passage(
                    id=f"{document.id}#{number}",
                    document_id=document.id,
                    title=document.title,
                    text=text.strip(),
                    start=start + len(text) - len(text.lstrip()),
                )
            )
            number += 1
    return found


def split(text: str, size: int, overlap: int = 0) -> list[tuple[int, int]]:
    """Start and end of chunks of at most `size` characters that cover the whole text, in order.

    Cut between paragraphs where that is possible, else between lines, sentences, words, and last
    between characters. Without overlap the chunks joined are the text; with it, each starts up to
    `overlap` characters before the end of the last one, at the start of a word.
    """
    if not 0 <= 2 * overlap <= size or size < 1:
        raise ValueError(f"cannot split into {size} characters with an overlap of {overlap}")
    chunks: list[tuple[int, int]] = []
    for start, end in _merged(_pieces(text, 0, len(text), size - overlap, 0), size - overlap):
        chunks.append(
            (_word_start(text, start - overlap, start) if chunks and overlap else start, end)
        )
    return chunks


def _pieces(text: str, start: int, end: int, size: int, level: int) -> Iterator[tuple[int, int]]:
    """Consecutive pieces of at most `size` characters, cut at the best ends that make them fit."""
    if end - start <= size:
        if end > start:
            yield start, end
    elif level == len(_ENDS):
        for cut in range(start, end, size):
            yield cut, min(cut + size, end)
    else:
        left = start
        for found in _ENDS[level].finditer(text, start, end):
            yield from _pieces(text, left, found.end(), size, level + 1)
            left = found.end()
        yield from _pieces(text, left, end, size, level + 1)


def _merged(pieces: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Neighbouring pieces joined for as long as they fit."""
    current: tuple[int, int] | None = None
    for start, end in pieces:
        if current is not None and end - current[0] <= size:
            current = current[0], end
            continue
        if current is not None:
            yield current
        current = start, end
    if current is not None:
        yield current


def _word_start(text: str, earliest: int, latest: int) -> int:
    """The first start of a word in a range; `latest` where none starts in it."""
    found = re.compile(r"(?<!\S)\S").search(text, max(earliest, 0), latest)
    return found.start() if found else latest
