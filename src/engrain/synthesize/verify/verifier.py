"""The filters in their order. Knows which there are and what switches them off."""

from __future__ import annotations

from collections.abc import Sequence

from engrain.records import TextKind
from engrain.synthesize.base import Fault, Piece, Window
from engrain.synthesize.leak import LeakGuard, Overlap
from engrain.synthesize.settings import VerifySettings
from engrain.synthesize.verify.answers import AnswerExplained
from engrain.synthesize.verify.base import Candidate, Filter, Verdict
from engrain.synthesize.verify.contained import SelfContained
from engrain.synthesize.verify.duplicates import Duplicate, NearDuplicate
from engrain.synthesize.verify.echo import PromptEcho
from engrain.synthesize.verify.language import SameLanguage
from engrain.synthesize.verify.source import SourceCopy
from engrain.synthesize.words import words

# Active Reading drops very short outputs; the figure is ours.
_SHORTEST_DOCUMENT = 20


class Verifier:
    """Looks at the texts of a whole stage, in order: of equal texts, the first is kept."""

    def __init__(self, guard: LeakGuard, settings: VerifySettings) -> None:
        self._guard = guard
        self._filters = filters(settings)
        self.overlap = Overlap()
        """Of all texts looked at with the evaluation questions."""

    def leak(self, line: str) -> Fault | None:
        """Why a line must not go into a prompt, or None."""
        verdict = self._leaked(words(line))
        return Fault(reason=verdict.reason, detail=verdict.detail, text=line) if verdict else None

    def fault(self, piece: Piece, kind: TextKind, window: Window) -> Fault | None:
        """Why a text about a window is not kept, or None."""
        candidate = Candidate(piece, kind, window)
        # All that would be trained on, the document's own words too.
        told = words(piece.text) if piece.written else candidate.folded
        self.overlap.count(self._guard.longest(told))
        verdict = self._leaked(told) or self._judge(candidate)
        if verdict is None:
            return None
        return Fault(reason=verdict.reason, detail=verdict.detail, text=candidate.text)

    def _judge(self, candidate: Candidate) -> Verdict | None:
        piece = candidate.piece
        if candidate.kind == "document" and len(piece.text) < _SHORTEST_DOCUMENT:
            return Verdict("too_short", f"{len(piece.text)} characters")
        for filter_ in self._filters:
            if verdict := filter_.judge(candidate):
                return verdict
        return None

    def _leaked(self, told: Sequence[str]) -> Verdict | None:
        match = self._guard.find(told)
        if match is None:
            return None
        if match.by_chance:
            return Verdict("coincidence", f"asks evaluation question {match.question_id!r}")
        return Verdict("leak", f"contains evaluation question {match.question_id!r}")


def filters(settings: VerifySettings) -> list[Filter]:
    """Those that are switched on; duplicates last, because they remember what is kept."""
    found: list[Filter] = []
    if settings.prompt_echo is not None:
        found.append(PromptEcho(settings.prompt_echo))
    if settings.self_contained:
        found.append(SelfContained())
    if settings.answer_share is not None:
        found.append(AnswerExplained(settings.answer_share))
    if settings.language:
        found.append(SameLanguage())
    if settings.source_copy is not None:
        found.append(SourceCopy(settings.source_copy))
    found.append(Duplicate(settings.remember))
    if settings.near_duplicate is not None:
        found.append(NearDuplicate(settings.near_duplicate, settings.remember))
    return found
