"""Evaluation questions stay out of training texts. Knows words, nothing of prompts or replies.

No evaluation question is ever in a prompt, by construction: prompts hold documents, synthetic
questions and strategies only, and the last two pass this guard. What is found in a reply came from
elsewhere: from a source document that holds the questions, or from a generator that has seen the
benchmark. A generator may also ask by itself, from the document alone, what the benchmark asks
("Where was X born?"): that is no leak, but it is not trained on either. So 13 words in a row are a
leak wherever they stand; a whole question that is shorter is a coincidence.

Gold answers are not looked for: a document that states one is there to be learned. How far texts
and the longer answers overlap is only reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engrain.records import Question
from engrain.synthesize.words import grams, words

# Thirteen words in a row are not met by chance: the length that the GPT-3 paper (arXiv 2005.14165,
# appendix C) uses.
_WORDS = 13
# "Who is she?" is everyone's question: one with fewer words is not looked for.
_FEWEST_WORDS = 4
# From here on an overlap is reported.
_REPORTED = 8
# A run of `_REPORTED` words holds a whole gram of half as many at every so many places.
_HALF = _REPORTED // 2


@dataclass(frozen=True, slots=True)
class Match:
    """An evaluation question found in a text."""

    question_id: str
    by_chance: bool
    """Too short to tell a leak from a question that the document suggests to anyone."""


@dataclass(slots=True)
class Overlap:
    """The longest runs of words that texts share with an evaluation question or answer."""

    texts: int = 0
    runs: Counter[int] = field(default_factory=Counter)
    """Texts by the length of their longest run, of those with eight words or more."""

    def count(self, longest: int) -> None:
        """Add one text; 0 where it shares no eight words in a row."""
        self.texts += 1
        if longest:
            self.runs[longest] += 1

    def as_json(self) -> dict[str, Any]:
        """For the stage's counts; without texts, or without such runs, there is no figure."""
        shared = self.runs.total()
        return {
            "texts": self.texts,
            "sharing_8_words": shared,
            "share": round(shared / self.texts, 6) if self.texts else None,
            "longest": max(self.runs, default=None),
        }


class LeakGuard:
    """Finds evaluation questions in texts: the whole of a short one, 13 words of a long one."""

    def __init__(self, questions: Iterable[Question]) -> None:
        # By their first words, so that a text is read once, whatever the number and lengths of the
        # questions.
        self._grams: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
        self._halves: set[tuple[str, ...]] = set()
        # Every run of eight words, with the lines that hold it and where.
        self._lines: list[list[str]] = []
        self._runs: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for question in questions:
            self._add_question(question)
            for line in (question.text, question.answer, *question.aliases):
                self._add_line(words(line))

    def find(self, told: Sequence[str]) -> Match | None:
        """The first evaluation question met in the words of a text; None where there is none."""
        if not self._grams:
            return None
        for start, head in enumerate(grams(told, _FEWEST_WORDS)):
            if head not in self._grams:
                continue
            for gram, question in self._grams[head].items():
                if tuple(told[start : start + len(gram)]) == gram:
                    return Match(question, by_chance=len(gram) < _WORDS)
        return None

    def longest(self, told: Sequence[str]) -> int:
        """How many words in a row these share with a question or answer; 0 for fewer than eight."""
        if not self._halves or not any(
            tuple(told[start : start + _HALF]) in self._halves
            for start in range(0, len(told) - _HALF + 1, _HALF)
        ):
            return 0
        longest = 0
        for start, run in enumerate(grams(told, _REPORTED)):
            for line, place in self._runs.get(run, ()):
                longest = max(longest, _common(told, start, self._lines[line], place))
        return longest

    def _add_question(self, question: Question) -> None:
        told = words(question.text)
        size = min(len(told), _WORDS)
        if size < _FEWEST_WORDS:
            return
        for gram in grams(told, size):
            self._grams.setdefault(gram[:_FEWEST_WORDS], {})[gram] = question.id

    def _add_line(self, told: list[str]) -> None:
        for start, run in enumerate(grams(told, _REPORTED)):
            self._runs.setdefault(run, []).append((len(self._lines), start))
            self._halves.update(run[place : place + _HALF] for place in range(_HALF + 1))
        self._lines.append(told)


def _common(ours: Sequence[str], here: int, theirs: Sequence[str], there: int) -> int:
    """How many words from these two places on are the same."""
    length = 0
    for our, their in zip(ours[here:], theirs[there:], strict=False):
        if our != their:
            break
        length += 1
    return length
