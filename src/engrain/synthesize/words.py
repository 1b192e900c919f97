"""Texts as words, for every comparison of texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"\w+")


def as_written(text: str) -> list[str]:
    """The words of a text; numbers are words."""
    return _WORD.findall(text)


def words(text: str) -> list[str]:
    """The words of a text without regard to case."""
    return list(map(str.casefold, _WORD.findall(text)))


def grams(told: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Every run of `size` words, in order; none where there are fewer words."""
    return zip(*(told[start:] for start in range(size)), strict=False)
