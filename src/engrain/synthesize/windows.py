"""Documents are cut into windows that fit a prompt. Knows text and sizes, nothing of prompts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from engrain.records import Document
from engrain.synthesize.base import Window

CHARACTERS_PER_TOKEN = 4
"""A usual figure for English; only sizes of windows and estimates rest on it."""

# Where a text may be cut, best place first: paragraphs, lines, sentences, words.
_CUTS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?])\s+"),
    re.compile(r"\s+"),
)
_SOLID = re.compile(r"\S")


def estimated_tokens(text: str) -> int:
    """Tokens of a text, before a tokenizer has seen it."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def windows(documents: Iterable[Document], tokens: int | None) -> Iterator[Window]:
    """The windows of all documents, of at most about `tokens` (None: whole), in order.

    A document without text has none. The windows of one document are of similar size: a document
    slightly too long for one gives two halves, not a whole and a scrap.
    """
    for document in documents:
        spans = list(cut(document.text, tokens))
        for number, (start, end) in enumerate(spans):
            text = document.text[start:end]
            yield Window(
                document_id=document.id,
                title=document.title,
                number=number,
                count=len(spans),
                start=start,
                text=text,
                tokens=estimated_tokens(text),
            )


class Cuts:
    """The documents in windows of every size that is asked for; each size is cut once."""

    def __init__(self, documents: Callable[[], Iterable[Document]]) -> None:
        """`documents` reads them anew at each call."""
        self._documents = documents
        self._sizes: dict[int | None, list[Window]] = {}

    def of(self, tokens: int | None) -> Sequence[Window]:
        """The windows of at most about `tokens`; None: whole documents."""
        if tokens not in self._sizes:
            self._sizes[tokens] = list(windows(self._documents(), tokens))
        return self._sizes[tokens]


def cut(text: str, tokens: int | None) -> Iterator[tuple[int, int]]:
    """Stretches (start, end) of at most about `tokens`, in order: all but the space around them."""
    end = len(text.rstrip())
    most = end if tokens is None else tokens * CHARACTERS_PER_TOKEN
    found = _SOLID.search(text)
    while found is not None:
        start = found.start()
        pieces = math.ceil((end - start) / most)
        stop = end if pieces == 1 else _stop(text, start, math.ceil((end - start) / pieces), most)
        yield start, start + len(text[start:stop].rstrip())
        found = _SOLID.search(text, stop)


def _stop(text: str, start: int, wanted: int, most: int) -> int:
    """Where a window ends: the best place near `wanted` characters, in any case within `most`."""
    for place in _CUTS:
        lowest, highest = start + wanted // 2, start + most
        ends = [found.start() for found in place.finditer(text, lowest, highest)]
        if ends:
            return min(ends, key=lambda end: abs(end - start - wanted))
    return start + wanted
