"""What readers give: a `Draft` of a document, a `Skipped` row, or `Unusable` for a whole file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engrain.artifacts import Skipped
from engrain.corpus.settings import CorpusSettings
from engrain.errors import ReadError


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One document as its reader found it, before cleaning and naming."""

    source: str
    """Its place in the corpus: the file's relative name, with `#row` in a table."""
    key: str
    """What its id is derived from: the source, with the row's own id in place of its number where
    it has one."""
    text: str
    title: str = ""
    """Empty where the file has none: it is then named after the file."""
    names: tuple[str, ...] = ()
    """Other names by which a question may refer to it."""
    id: str = ""
    """Set by a benchmark whose ids are to be kept."""
    same_as: str = ""
    """Another name of the same document, where its source says so."""
    encoding: str = "utf-8"
    """How its bytes were read."""


Reader = Callable[[Path, str, CorpusSettings], Iterator[Draft | Skipped]]
"""Reads the file at a path, named by its source; raises `Unusable` or OSError where it cannot."""


class Unusable(ReadError):
    """A file or row gives no document: `reason` is a short slug, `detail` one clause."""

    def __init__(self, reason: str, detail: str) -> None:
        """Name the reason by which it is counted, and say more."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
