"""Documents are looked through before the first request; then the run stops, or some are left out.

What is found goes into `screened.parquet` by document, kind and place, never by its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from engrain import artifacts
from engrain.errors import UserError
from engrain.records import Document
from engrain.store import Artifact, RowWriter
from engrain.synthesize.screen.base import Place
from engrain.synthesize.screen.personal import PersonalFinder
from engrain.synthesize.screen.secrets import SecretFinder
from engrain.synthesize.settings import ScreenKind, ScreenSettings

SCREENED = "screened.parquet"
# Of something shorter, two characters would tell too much.
_SHOWN, _SHOWN_FROM = 2, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitive:
    """One place of a document that looks like a secret or personal data."""

    document_id: str
    source: str
    """The document's; empty where something was found in that itself."""
    part: Literal["title", "text"]
    kind: ScreenKind
    start: int
    """Where it stands in the document's text or title, in characters."""
    end: int
    hint: str
    """Its first two characters, where it has at least eight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged:
    """One document in which something was found."""

    source: str
    """As in `Sensitive`."""
    kinds: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """What was found in a corpus."""

    documents: int
    flagged: Mapping[str, Flagged]
    """By the document's id."""
    left_out: frozenset[str]
    """Ids of the documents about which nothing is to be asked."""

    @property
    def kinds(self) -> dict[str, int]:
        """How much of each kind was found."""
        counts = sum((Counter(one.kinds) for one in self.flagged.values()), Counter[str]())
        return dict(sorted(counts.items()))

    def in_words(self) -> str:
        """`3 findings in 2 of 40 documents (email 2, phone 1)`."""
        kinds = self.kinds
        found = sum(kinds.values())
        named = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
        return (
            f"{found:,} finding{'s' * (found != 1)} in {len(self.flagged):,} of "
            f"{self.documents:,} documents" + (f" ({named})" if named else "")
        )

    def as_json(self) -> dict[str, Any]:
        """For the record."""
        return {
            "documents": self.documents,
            "with_findings": len(self.flagged),
            "left_out": len(self.left_out),
            "findings": self.kinds,
        }


def screen(
    corpus: Artifact, settings: ScreenSettings | None, folder: Path | None = None
) -> Screened | None:
    """Look through all documents, their texts and titles; None where that is not wanted.

    Where there is a `folder`, `screened.parquet` in it lists what was found, and an older one is
    replaced or removed.
    """
    if settings is None:
        if folder is not None:
            (folder / SCREENED).unlink(missing_ok=True)
        return None
    searcher, flagged, count = Searcher(settings), dict[str, Flagged](), 0
    with ExitStack() as stack:
        rows = None
        if folder is not None:
            rows = stack.enter_context(RowWriter(folder / SCREENED, Sensitive))
        for document in artifacts.documents(corpus):
            count += 1
            found = list(searcher.sensitive(document))
            if found:
                kinds = Counter(str(one.kind) for one in found)
                flagged[document.id] = Flagged(source=found[0].source, kinds=kinds)
            if rows is not None:
                for one in found:
                    rows.append(one)
    skipped = frozenset(flagged) if settings.on_finding == "skip" else frozenset[str]()
    return Screened(documents=count, flagged=flagged, left_out=skipped)


def require_clean(screened: Screened | None, stage: str, folder: Path) -> None:
    """Raise UserError where something was found that is to end the run, or no document is left."""
    if screened is None or not screened.flagged:
        return
    where = f"{screened.in_words()}: each place stands in {str(folder / SCREENED)!r}"
    if not screened.left_out:
        raise UserError(
            f"{stage}: nothing was sent, because synthesis.screen has {where}; take them out of "
            "the documents, name harmless ones in synthesis.screen.allow, or set "
            "synthesis.screen.on_finding to 'skip'"
        )
    if len(screened.left_out) == screened.documents:
        raise UserError(
            f"{stage}: nothing was sent, because synthesis.screen leaves out every document, with "
            f"{where}; take them out, or name harmless ones in synthesis.screen.allow"
        )


def admitted(corpus: Artifact, screened: Screened | None) -> Callable[[], Iterator[Document]]:
    """Reads the documents that may be written about, anew at each call."""
    left_out = frozenset[str]() if screened is None else screened.left_out
    return lambda: (
        document for document in artifacts.documents(corpus) if document.id not in left_out
    )


class Searcher:
    """Finds what the settings name, except what they allow."""

    def __init__(self, settings: ScreenSettings) -> None:
        """Raises MissingExtra where a library is not installed."""
        self._allowed = tuple(pattern.casefold() for pattern in settings.allow)
        self._finders = (
            SecretFinder(settings.find),
            PersonalFinder(settings.find, settings.phone_regions),
        )

    def sensitive(self, document: Document) -> Iterator[Sensitive]:
        """What stands in a document, in its order, title first."""
        titled, told = self.places(document.title), self.places(document.text)
        if not titled and not told:
            return
        source = "" if self.places(document.source) else document.source
        parts: tuple[tuple[Literal["title", "text"], list[Place]], ...]
        parts = (("title", titled), ("text", told))
        for part, places in parts:
            text = document.title if part == "title" else document.text
            for start, end, kind in places:
                yield Sensitive(
                    document_id=document.id,
                    source=source,
                    part=part,
                    kind=kind,
                    start=start,
                    end=end,
                    hint=text[start : start + _SHOWN] if end - start >= _SHOWN_FROM else "",
                )

    def places(self, text: str) -> list[Place]:
        """In order; what begins inside another place belongs to that."""
        found = {
            place
            for finder in self._finders
            for place in finder.places(text)
            if not self._is_allowed(text[place.start : place.end])
        }
        return list(_outermost(sorted(found, key=lambda place: (place.start, -place.end, place))))

    def _is_allowed(self, found: str) -> bool:
        return any(fnmatchcase(found.casefold(), pattern) for pattern in self._allowed)


def _outermost(places: Iterable[Place]) -> Iterator[Place]:
    """Of places in order, with the longer first where two begin together."""
    end = 0
    for place in places:
        if place.start >= end:
            yield place
        end = max(end, place.end)
