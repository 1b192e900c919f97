"""Evaluation questions stay out of training texts. Knows words, nothing of prompts or replies.

No evaluation question is ever in a prompt, by construction: prompts hold documents, synthetic
questions and strategies only, and the last two pass this guard. What is found in a reply came from
elsewhere: from a source document that holds the questions, or from a generator that has seen the
benchmark. A generator may also ask by itself, from the document alone, what the benchmark asks
("Where was X born?"): that is no leak, but it is not trained on either. So 13 words in a row are a
leak wherever they stand; a whole question that is shorter is a coincidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engrain.records import Question

# Thirteen words in a row are not met by chance: the length that the GPT-3 paper (arXiv 2005.14165,
# appendix C) uses.
_WORDS = 13
# "Who is she?" is everyone's question: one with fewer words is not looked for.
_FEWEST_WORDS = 4

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Match:
    """An evaluation question found in a text."""

    question_id: str
    by_chance: bool
    """Too short to tell a leak from a question that the document suggests to anyone."""


class LeakGuard:
    """Finds evaluation questions in texts: the whole of a short one, 13 words of a long one."""

    def __init__(self, questions: Iterable[Question]) -> None:
        # By their first words, so that a text is read once, whatever the number and lengths of the
        # questions.
        self._grams: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
        for question in questions:
            words = _words(question.text)
            size = min(len(words), _WORDS)
            if size < _FEWEST_WORDS:
                continue
            for start in range(len(words) - size + 1):
                gram = tuple(words[start : start + size])
                self._grams.setdefault(gram[:_FEWEST_WORDS], {})[gram] = question.id

    def find(self, text: str) -> Match | None:
        """The first evaluation question met in `text`; None where there is none."""
        if not self._grams:
            return None
        words = _words(text)
        for start in range(len(words) - _FEWEST_WORDS + 1):
            for gram, question in self._grams.get(
                tuple(words[start : start + _FEWEST_WORDS]), {}
            ).items():
                if tuple(words[start : start + len(gram)]) == gram:
                    return Match(question, by_chance=len(gram) < _WORDS)
        return None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
