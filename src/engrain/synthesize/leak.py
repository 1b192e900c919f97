"""Evaluation questions stay out of training texts. Knows words and n-grams, nothing of prompts or replies.

No evaluation question is ever in a prompt, by construction: prompts hold documents, synthetic questions and strategies
only, and the last two pass this guard. What is found in a reply came from elsewhere: from a source document that holds
the questions, or from a generator that has seen the benchmark. A generated pair may also ask by itself, from the document alone, what
the benchmark asks ("Where was X born?"): that is no leak, but it is not trained on either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from engrain.records import Question

# Thirteen words in a row are not met by chance: the length that the GPT-3 paper (arXiv 2005.14165, appendix C) uses.
_WORDS = 13
# "Who is she?" is everyone's question: one with fewer words is not looked for.
_FEWEST_WORDS = 4

_WORD = re.compile(r"\w+")


class LeakGuard:
    """Finds evaluation questions in texts: thirteen words in a row of a long one, the whole of a shorter one."""

    def __init__(self, questions: Iterable[Question]) -> None:
        # By their first words, so that a text is read once, whatever the number and lengths of the questions.
        self._grams: dict[tuple[str, ...], dict[tuple[str, ...], str]] = {}
        for question in questions:
            words = _words(question.text)
            size = min(len(words), _WORDS)
            if size < _FEWEST_WORDS:
                continue
            for start in range(len(words) - size + 1):
                gram = tuple(words[start : start + size])
                self._grams.setdefault(gram[:_FEWEST_WORDS], {})[gram] = question.id

    def find(self, text: str) -> str:
        """The id of an evaluation question in `text`, the first met; empty where there is none."""
        if not self._grams:
            return ""
        words = _words(text)
        for start in range(len(words) - _FEWEST_WORDS + 1):
            for gram, question in self._grams.get(tuple(words[start : start + _FEWEST_WORDS]), {}).items():
                if tuple(words[start : start + len(gram)]) == gram:
                    return question
        return ""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
