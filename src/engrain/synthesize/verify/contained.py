"""Texts that lean on a document which their reader will not have.

Knows English turns of phrase only; in other languages it finds nothing. Cautious: what could be
about a passage, an article or an author that the text itself names is let through.
"""

from __future__ import annotations

import re

from engrain.synthesize.verify.base import Candidate, Verdict, window_vocabulary

_SOURCES = ("passage", "excerpt", "text", "document", "article", "paragraph", "context", "story")
_SPEAKERS = ("author", "narrator")
_NOUNS = {noun + end for noun in (*_SOURCES, *_SPEAKERS) for end in ("", "s")}
_NOUN = rf"(?:{'|'.join(_SOURCES)})s?"
_PERSON = r"(?:author|narrator)s?"
# "The author of Dracula", "the article that Ada Wren wrote", "the text messages": named after all.
_NAMED = (
    r"(?!['\u2019]s\b)(?!\s+(?:of|by|from|that|which|who|whom|whose|about|on|for|titled|entitled"
    r"|called|named|editor|file|message|line|behind|published|written)\b)(?!\s*[\"\u201c'(:\d-])"
    r"(?! (?-i:[A-Z]))"
)
_SAYS = (
    r"(?:say|state|mention|describe|explain|tell|note|report|discuss|imply|implie|suggest|indicate"
    r"|provide|give|cover|show|do not|does not|doesn['\u2019]t)(?:s|es|d|ed)?"
)
# Of a question: whatever it takes from "the passage" it does not name.
_QUESTION = re.compile(
    rf"\b(?:according to|in|from|based on|per) (?:the|this|that|these) {_NOUN}\b{_NAMED}"
    rf"|\b(?:this|the (?:above|given|provided|preceding|following)) {_NOUN}\b"
    rf"|\bthe {_NOUN} (?:above|below|provided|given)\b"
    rf"|\b(?:do|does|did|is|was|would|can|could|has|had|by|to|of|about|why|how|what|that)"
    rf" the (?:{_PERSON}|passage|excerpt|text|article|story)\b{_NAMED}"
    rf"|\b(?:the|this) (?:passage|excerpt|text|document|article|{_PERSON})s? {_SAYS}\b",
    re.IGNORECASE,
)
# Of a text: only where it speaks of its source as a source.
_TEXT = re.compile(
    rf"\b(?:according to|based on|(?:as )?(?:stated|described|mentioned|noted|given|provided|found"
    rf"|shown|explained) (?:above )?(?:in|by)) (?:the|this|that) (?:{_NOUN}|{_PERSON})\b{_NAMED}"
    rf"|\bin this (?:passage|excerpt|text|document|paragraph)\b"
    rf"|\bthe (?:above|given|provided|preceding) {_NOUN}\b"
    rf"|\bthe {_NOUN} (?:above|below|provided|given)\b"
    rf"|\b(?:the|this) (?:passage|excerpt|document|text|context)s? {_SAYS}\b",
    re.IGNORECASE,
)
_ASKING = r"(?:who|whom|whose|what|which|when|where|why|how)\b"
_AUXILIARY = r"(?:did|does|do|was|were|is|are|had|has|have|could|would|will|can|should|might)"
# "What did he do then?", "Who is her brother?"
_NOBODY = re.compile(
    rf"\W*(?:(?:and|but|so|then|in|at|on|by|to|for|from|with|of)\s+)?{_ASKING}(?:\s+\w+){{0,3}}?\s+"
    rf"(?:{_AUXILIARY}\s+(?:he|she|they)\b|(?:is|was|are|were)\s+(?:his|her|their)\b)",
    re.IGNORECASE,
)


class SelfContained:
    """Questions about "the passage" or "he", and texts that point to their source."""

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`not_self_contained`."""
        piece = candidate.piece
        if piece.question and (phrase := _asked(piece.question)):
            return Verdict("not_self_contained", f"asks about {phrase!r}")
        if _NOUNS.isdisjoint(candidate.vocabulary):
            return None
        found = _TEXT.search(piece.text)
        if found is None:
            return None
        phrase = found[0]
        # A document that itself writes so is quoted.
        if phrase.casefold().split()[-1] in window_vocabulary(candidate.window) and (
            phrase.casefold() in candidate.window.text.casefold()
        ):
            return None
        return Verdict("not_self_contained", f"points to its source: {phrase!r}")


def _asked(question: str) -> str:
    """What the question does not name; empty where it stands on its own."""
    found = _QUESTION.search(question)
    if found:
        return found[0]
    nobody = _NOBODY.match(question)
    if nobody and not _names(question):
        return nobody[0]
    return ""


def _names(question: str) -> bool:
    """Whether anything is named or numbered after the first word."""
    return any(word[0].isupper() or word[0].isdigit() for word in _WORDS.findall(question)[1:])


_WORDS = re.compile(r"[^\W_][\w'\u2019-]*")
