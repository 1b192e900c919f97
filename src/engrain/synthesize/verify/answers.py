"""Pairs whose explanation does not lead to their short answer."""

from __future__ import annotations

import re
import unicodedata

from engrain.synthesize.verify.base import Candidate, Verdict
from engrain.synthesize.words import words

# An explanation seldom says "yes"; and "all of them" may be a list in it.
_VERDICTS = frozenset(
    ("yes", "no", "true", "false", "none", "both", "neither", "all", "nothing", "nobody", "never")
)
_COUNT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(value) for value, word in enumerate((*_COUNT, "eleven", "twelve"))} | {
    "first": "1",
    "second": "2",
    "third": "3",
    "once": "1",
    "twice": "2",
}
_ARTICLES = {"a", "an", "the", "this", "that"}
_PRONOUNS = {"he", "she", "it", "they", "him", "her", "them", "his", "its", "their"}
_JOINTS = {"of", "and", "or", "to", "in", "on", "at", "by", "for", "from", "with", "as", "than"}
_LITTLE = _ARTICLES | _PRONOUNS | _JOINTS | {"about", "is", "was", "were", "be", "been"}
_THOUSANDS = re.compile(r"(?<=\d)[,'\u2019\u00a0\u202f ](?=\d{3}(?!\d))")
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
# "Marries" and "married" are one word here.
_STEM = 5


class AnswerExplained:
    """Short answers of which less than a share stands in their explanation.

    Numbers and case are normalised, words are compared by their first five letters. Yes, no and
    the like are not looked for.
    """

    def __init__(self, share: float) -> None:
        self._share = share

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`answer_unexplained`."""
        answer = candidate.piece.answer
        if candidate.kind != "qa" or not answer:
            return None
        text = candidate.piece.text
        explanation = text.removesuffix(f"\nAnswer: {answer}")
        if explanation == text or answer.casefold() in explanation.casefold():
            return None
        said = _stems(answer)
        wanted = said - _LITTLE
        if not wanted or said & _VERDICTS:
            return None
        found = wanted & _stems(explanation)
        if len(found) >= self._share * len(wanted):
            return None
        missing = ", ".join(sorted(wanted - found))
        return Verdict("answer_unexplained", f"the explanation does not say: {missing}")


def _stems(text: str) -> set[str]:
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = _ORDINAL.sub(r"\1", _THOUSANDS.sub("", plain))
    return {_NUMBERS.get(word) or _stem(word) for word in words(plain)}


def _stem(word: str) -> str:
    if word.isdigit():
        return word.lstrip("0") or "0"
    return word if word in _LITTLE or word in _VERDICTS else word[:_STEM]
