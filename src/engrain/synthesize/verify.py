"""What is not trained on, each with its reason: none is dropped silently.

Reasons of a whole reply: `empty`, `content_filter`, `refusal`, `truncated`, `unparsable`; of one
text: `too_short`, `duplicate`, `leak`, `coincidence`, and what a method's parser adds.
"""

from __future__ import annotations

import hashlib
import re

from engrain.backends.base import Reply
from engrain.records import TextKind
from engrain.synthesize.base import Fault, Parsed, Piece
from engrain.synthesize.digests import Digests
from engrain.synthesize.leak import LeakGuard
from engrain.synthesize.prompts import one_line

_REFUSAL = re.compile(
    r"\A\W*(?:i(?:'m| am) (?:very |really |so )?sorry|sorry,|i apologi[sz]e|as an ai\b|"
    r"i(?: can(?:no|')t|(?: am|'m) (?:unable|not able) to| won't| will not)\b)",
    re.IGNORECASE,
)
# Refusals are brief; a long text that opens in these words is about something.
_LONGEST_REFUSAL = 600
# Active Reading drops very short outputs; the figure is ours.
_SHORTEST_DOCUMENT = 20


def reply_fault(reply: Reply) -> Fault | None:
    """Why nothing in a reply can be used, whatever the method; None where something may be."""
    text = reply.text.strip()
    if reply.finish_reason == "content_filter":
        return Fault(
            reason="content_filter",
            detail="stopped by the endpoint's content filter",
            text=reply.text,
        )
    if not text:
        return Fault(reason="empty", detail=f"finish reason {reply.finish_reason!r}", text="")
    if len(text) <= _LONGEST_REFUSAL and _REFUSAL.match(text):
        return Fault(reason="refusal", detail="opens as a refusal", text=reply.text)
    return None


def whole_text(reply: Reply, text: str) -> Parsed:
    """A reply that is one text: not used when it was cut off."""
    if reply.finish_reason == "length":
        return Parsed(
            faults=[Fault(reason="truncated", detail="cut off by max_tokens", text=reply.text)]
        )
    if not text:
        return Parsed(
            faults=[Fault(reason="empty", detail="nothing beside a preamble", text=reply.text)]
        )
    return Parsed([Piece(text=text)])


class Verifier:
    """Looks at the texts of a whole stage, in order: of equal texts, the first is kept."""

    def __init__(self, guard: LeakGuard) -> None:
        self._guard = guard
        self._seen = Digests()

    def leak(self, line: str) -> Fault | None:
        """Why a line must not go into a prompt, or None."""
        reason, detail = self._leaked(line)
        return Fault(reason=reason, detail=detail, text=line) if reason else None

    def fault(self, piece: Piece, kind: TextKind) -> Fault | None:
        """Why a text is not kept, or None."""
        reason, detail = self._judge(piece, kind)
        if not reason:
            return None
        text = f"{piece.question}\n{piece.text}" if piece.question else piece.text
        return Fault(reason=reason, detail=detail, text=text)

    def _judge(self, piece: Piece, kind: TextKind) -> tuple[str, str]:
        if kind == "document" and len(piece.text) < _SHORTEST_DOCUMENT:
            return "too_short", f"{len(piece.text)} characters"
        for text in (piece.text, piece.question):
            reason, detail = self._leaked(text)
            if reason:
                return reason, detail
        whole = one_line(f"{piece.question}\n{piece.text}").casefold()
        digest = hashlib.blake2b(whole.encode(), digest_size=8).digest()
        if not self._seen.add(digest):
            return "duplicate", "the same text came before"
        return "", ""

    def _leaked(self, text: str) -> tuple[str, str]:
        match = self._guard.find(text)
        if match is None:
            return "", ""
        if match.by_chance:
            return "coincidence", f"asks evaluation question {match.question_id!r}"
        return "leak", f"contains evaluation question {match.question_id!r}"
