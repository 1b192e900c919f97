"""Aligns a question's evidence with the text of its documents, so that it stands there verbatim.

Benchmarks extracted their PDFs with other tools: the words are the same, white space and the order
of a table's cells are not (26 of FinanceBench's 57 evidence texts). Retrieval recall can only be
measured on what stands in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

from engrain.records import Document, Question

_WORD = re.compile(r"\w+")
# Below this many words a window of the same words may be chance.
_FEWEST_WORDS = 8
# Share of the evidence's words that the window must hold.
_ENOUGH = 0.9


class Text:
    """A document's text, prepared once for many evidence texts."""

    def __init__(self, text: str) -> None:
        """Prepare `text`."""
        self.text = text

    def holds(self, evidence: str) -> bool:
        """Whether the evidence stands in the text, white space aside."""
        return " ".join(evidence.split()) in self._flat

    def closest(self, evidence: str) -> str | None:
        """The window with as many words as the evidence that shares most of them.

        None where no window shares 90 %, and for evidence too short to tell by its words.
        """
        wanted = _WORD.findall(evidence.lower())
        if len(wanted) < _FEWEST_WORDS:
            return None
        shared, first, last = _best_window(wanted, self._words)
        return (
            self.text[self._spans[first][0] : self._spans[last][1]]
            if shared >= _ENOUGH * len(wanted)
            else None
        )

    @cached_property
    def _flat(self) -> str:
        return " ".join(self.text.split())

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [found.span() for found in _WORD.finditer(self.text)]

    @cached_property
    def _words(self) -> list[str]:
        return [self.text[start:end].lower() for start, end in self._spans]


def align(
    questions: Sequence[Question], documents: Iterable[Document]
) -> tuple[list[Question], dict[str, int]]:
    """The questions with their evidence as it stands in their documents.

    Also how many pieces were there `verbatim`, are now `aligned`, or are `missing`.
    Missing evidence is kept as it was: retrieval cannot find it, and the count says so.
    """
    by_document: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        for document_id in question.document_ids if question.evidence else ():
            by_document.setdefault(document_id, []).append(number)
    # For each question: the text found for each piece of evidence; the piece itself is the best
    # there is.
    found: dict[int, dict[str, str]] = {}
    for document in documents:
        text = Text(document.text) if document.id in by_document else None
        for number in by_document.get(document.id, ()) if text else ():
            pieces = found.setdefault(number, {})
            for evidence in questions[number].evidence:
                assert text is not None
                if text.holds(evidence):
                    pieces[evidence] = evidence
                elif evidence not in pieces and (window := text.closest(evidence)) is not None:
                    pieces[evidence] = window
    counts = Counter({"verbatim": 0, "aligned": 0, "missing": 0})
    aligned = []
    for number, question in enumerate(questions):
        pieces = found.get(number, {})
        for evidence in question.evidence:
            stands = pieces.get(evidence)
            counts[
                "missing" if stands is None else "verbatim" if stands == evidence else "aligned"
            ] += 1
        aligned.append(
            replace(question, evidence=tuple(pieces.get(text, text) for text in question.evidence))
        )
    return aligned, dict(counts)


def _best_window(wanted: Sequence[str], words: Sequence[str]) -> tuple[int, int, int]:
    """How many wanted words the best window of as many words holds; its first and last word."""
    missing = Counter(wanted)
    shared, best = 0, (0, 0, 0)
    for last, word in enumerate(words):
        shared += missing[word] > 0
        missing[word] -= 1
        if last >= len(wanted):
            gone = words[last - len(wanted)]
            missing[gone] += 1
            shared -= missing[gone] > 0
        if shared > best[0]:
            best = shared, max(last - len(wanted) + 1, 0), last
    return best
