"""What every filter of texts looks at, and the form of a filter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

from engrain.records import TextKind
from engrain.synthesize.base import Piece, Window

_WORD = re.compile(r"\w+")


class Verdict(NamedTuple):
    """Why a text is not kept."""

    reason: str
    """A short slug: counted by it."""
    detail: str


@dataclass(frozen=True)
class Candidate:
    """One text that may be kept, split into words once for all filters."""

    piece: Piece
    kind: TextKind
    window: Window
    """What it was written about."""

    @cached_property
    def text(self) -> str:
        """All of it: for a pair the question, then the explanation with the answer."""
        piece = self.piece
        return f"{piece.question}\n{piece.text}" if piece.question else piece.text

    @cached_property
    def words(self) -> list[str]:
        """Of `text`, as written."""
        return _WORD.findall(self.text)

    @cached_property
    def folded(self) -> list[str]:
        """Of `text`, without regard to case."""
        return words(self.text)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The different words of `folded`."""
        return frozenset(self.folded)


class Filter(Protocol):
    """Looks at one text at a time; only the filters of duplicates remember."""

    def judge(self, candidate: Candidate) -> Verdict | None:
        """Why the text is not kept, or None."""


def words(text: str) -> list[str]:
    """The words of a text without regard to case; numbers are words."""
    return _WORD.findall(text.casefold())


def grams(tokens: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Every run of `size` words, in order; none where there are fewer words."""
    return zip(*(tokens[start:] for start in range(size)), strict=False)


# Texts about one window come together, but those of a round's requests side by side.
@lru_cache(maxsize=64)
def window_vocabulary(window: Window) -> frozenset[str]:
    """The different words of a window."""
    return frozenset(words(window.text))


@lru_cache(maxsize=64)
def window_grams(window: Window, size: int) -> frozenset[tuple[str, ...]]:
    """Every run of `size` words of a window."""
    return frozenset(grams(words(window.text), size))
