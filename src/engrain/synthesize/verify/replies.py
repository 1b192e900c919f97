"""Why a whole reply cannot be used, whatever the method. Knows nothing of windows or settings."""

from __future__ import annotations

import re

from engrain.backends.base import Reply
from engrain.synthesize.base import Fault, Parsed, Piece

_REFUSAL = re.compile(
    r"\A\W*(?:i(?:'m| am) (?:very |really |so )?sorry|sorry,|i apologi[sz]e|as an ai\b|"
    r"i(?: can(?:no|')t|(?: am|'m) (?:unable|not able) to| won't| will not)\b)",
    re.IGNORECASE,
)
# Refusals are brief; a long text that opens in these words is about something.
_LONGEST_REFUSAL = 600


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
