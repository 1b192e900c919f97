"""The synthetic questions that texts are focused on, by the place in the documents they are about.

Methods may cut documents into other windows than the question-answer pairs did; knows spans and
words, nothing of methods or prompts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import zip_longest

from engrain.records import SyntheticText
from engrain.synthesize.base import Window

# With a handful of strategies these focus some ten thousand texts before any pair comes again, and
# a run over thousands of windows still holds them in memory.
_MOST = 1024

_WORD = re.compile(r"\w+")


class Questions:
    """Questions with their answers, in the order in which they were kept."""

    def __init__(self) -> None:
        """None yet."""
        self._asked: dict[str, dict[tuple[int, int], dict[str, str]]] = defaultdict(dict)

    def add(self, window: Window, text: SyntheticText) -> None:
        """Note the question of a pair about a window; of the first 1,024 different ones."""
        asked = self._asked[window.document_id].setdefault((window.start, window.end), {})
        if text.question and len(asked) < _MOST:
            asked.setdefault(text.question, text.answer)

    def about(self, window: Window) -> tuple[str, ...]:
        """The questions about a window, those of its parts in turn.

        Of a wider window that reaches into this one, those whose answer stands in this one.
        """
        found = []
        for (start, end), asked in sorted(self._asked[window.document_id].items()):
            if start >= window.end or end <= window.start:
                continue
            inside = window.start <= start and end <= window.end
            found.append(list(asked) if inside else _answered(asked, window.text))
        rows = zip_longest(*found)
        return tuple(dict.fromkeys(question for row in rows for question in row if question))


def _answered(asked: dict[str, str], text: str) -> list[str]:
    known = set(_WORD.findall(text.casefold()))
    return [
        question
        for question, answer in asked.items()
        if known.issuperset(_WORD.findall(answer.casefold()))
    ]
