"""What every filter of texts looks at, and the form of a filter."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

from engrain.records import TextKind
from engrain.synthesize.base import Piece, Window
from engrain.synthesize.words import as_written, grams, words


class Verdict(NamedTuple):
    """Why a text is not kept."""

    reason: str
    """A short slug: counted by it."""
    detail: str


class Candidate:
    """One text that may be kept, split into words once for all filters."""

    __slots__ = ("folded", "kind", "piece", "text", "vocabulary", "window", "words")

    def __init__(self, piece: Piece, kind: TextKind, window: Window) -> None:
        """`window` is what the text was written about."""
        self.piece, self.kind, self.window = piece, kind, window
        # What was written: for a pair the question, then the explanation with the answer.
        whole = f"{piece.question}\n{piece.text}" if piece.question else piece.text
        self.text = piece.written or whole
        self.words = as_written(self.text)
        # Without regard to case.
        self.folded = list(map(str.casefold, self.words))
        self.vocabulary = frozenset(self.folded)


class Filter(Protocol):
    """Looks at one text at a time; only the filters of duplicates remember."""

    def judge(self, candidate: Candidate) -> Verdict | None:
        """Why the text is not kept, or None."""


# Texts about one window come together, but those of a round's requests side by side.
@lru_cache(maxsize=64)
def window_vocabulary(window: Window) -> frozenset[str]:
    """The different words of a window."""
    return frozenset(words(window.text))


@lru_cache(maxsize=64)
def window_grams(window: Window, size: int) -> frozenset[tuple[str, ...]]:
    """Every run of `size` words of a window."""
    return frozenset(grams(words(window.text), size))
