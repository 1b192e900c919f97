"""Drafts to documents: cleans, names and identifies each, and takes every text once."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import PurePosixPath

from engrain.artifacts import Skipped
from engrain.corpus.draft import Draft
from engrain.corpus.questions import Names
from engrain.corpus.text import clean, one_line, stem_title
from engrain.records import Document

_SLUG_CHARACTERS = 40
_HASH_DIGITS = 8


class Shelf:
    """The documents taken so far: knows their ids, texts and names, and holds no text."""

    def __init__(self, min_characters: int) -> None:
        """An empty shelf; shorter documents are refused."""
        self.names = Names()
        self.characters = 0
        self.encodings: Counter[str] = Counter()
        self.reencoded: list[str] = []
        """Sources that were not UTF-8."""
        self._min_characters = min_characters
        self._ids: set[str] = set()
        self._texts: dict[str, tuple[str, str]] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._hash = hashlib.sha256()

    def take(self, draft: Draft) -> Document | Skipped:
        """The finished document, or why it is none: `empty`, `too_short` or `duplicate`."""
        text = clean(draft.text)
        if not text:
            return Skipped(source=draft.source, reason="empty", detail="it holds no text")
        if len(text) < self._min_characters:
            detail = (
                f"{len(text)} characters, fewer than corpus.min_characters ({self._min_characters})"
            )
            return Skipped(source=draft.source, reason="too_short", detail=detail)
        name = PurePosixPath(draft.source.partition("#")[0])
        title = one_line(draft.title) or stem_title(name.stem)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        kept = self._texts.get(sha256) or self._same(draft)
        document_id = kept[0] if kept else self._free(draft.id or identify(draft.key))
        exact = (document_id, draft.source, *draft.names)
        self.names.add(document_id, exact=exact, file=(name.name, name.stem), title=title)
        if kept:
            return Skipped(
                source=draft.source, reason="duplicate", detail=f"the same text as {kept[1]}"
            )
        self._texts[sha256] = document_id, draft.source
        for name_of_it in (draft.id, draft.same_as):
            if name_of_it:
                self._told.setdefault(name_of_it, (document_id, draft.source))
        self._ids.add(document_id)
        self.characters += len(text)
        self.encodings[draft.encoding] += 1
        if draft.encoding != "utf-8":
            self.reencoded.append(draft.source)
        self._hash.update(f"{document_id}\0{title}\0{sha256}\n".encode())
        return Document(id=document_id, title=title, source=draft.source, text=text, sha256=sha256)

    def fingerprint(self) -> str:
        """Of the documents alone: stays when questions, or files without a document, change."""
        return self._hash.hexdigest()[:16]

    def _same(self, draft: Draft) -> tuple[str, str] | None:
        """The document taken before of which a benchmark says that it is this one."""
        return self._told.get(draft.same_as) or self._told.get(draft.id)

    def _free(self, wanted: str) -> str:
        found, number = wanted, 2
        while found in self._ids:
            found, number = f"{wanted}-{number}", number + 1
        return found


def identify(key: str) -> str:
    """A readable id from a document's place alone.

    Other files, and where the folder lies, do not change it.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[-_SLUG_CHARACTERS:].strip("-")
    return f"{slug or 'document'}-{hashlib.sha256(key.encode()).hexdigest()[:_HASH_DIGITS]}"
