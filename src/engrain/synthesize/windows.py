"""Documents are cut into windows that fit a prompt. Knows text and sizes, nothing of prompts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

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


def estimated_tokens(text: str) -> int:
    """Tokens of a text, before a tokenizer has seen it."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def windows(documents: Iterable[Document], tokens: int) -> Iterator[Window]:
    """The windows of all documents, of at most about `tokens`, in order.

    A document without text has none. The windows of one document are of similar size: a document
    slightly too long for one gives two halves, not a whole and a scrap.
    """
    for document in documents:
        for number, text in enumerate(_cut(document.text.strip(), tokens * CHARACTERS_PER_TOKEN)):
            yield Window(
                document_id=document.id,
                title=document.title,
                number=number,
                text=text,
                tokens=estimated_tokens(text),
            )


def _cut(text: str, most: int) -> Iterator[str]:
    while text:
        pieces = math.ceil(len(text) / most)
        if pieces == 1:
            yield text
            return
        end = _end(text, math.ceil(len(text) / pieces), most)
        yield text[:end].rstrip()
        text = text[end:].lstrip()


def _end(text: str, wanted: int, most: int) -> int:
    """Where the first window ends: the best cut near `wanted`, in any case within `most`."""
    lowest = wanted // 2
    for cut in _CUTS:
        places = [found.start() for found in cut.finditer(text, lowest, most)]
        if places:
            return min(places, key=lambda place: abs(place - wanted))
    return wanted
