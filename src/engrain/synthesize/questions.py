"""The synthetic questions that texts are focused on, by the place in the documents they are about.

Methods may cut documents into other windows than the question-answer pairs did; knows spans and
words, nothing of methods or prompts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import zip_longest

from engrain.records import SyntheticText
from engrain.synthesize.base import Window
from engrain.synthesize.notebook import Notebook

_WORD = re.compile(r"\w+")


class Questions:
    """Questions with their answers, in the order in which they were kept."""

    def __init__(self, notebook: Notebook) -> None:
        """None yet; they are noted in `notebook`."""
        self._notebook = notebook
        self._spans: dict[str, set[tuple[int, int]]] = defaultdict(set)

    def add(self, window: Window, kept: Iterable[SyntheticText]) -> None:
        """Note the questions of the pairs that a reply about a window brought."""
        lines = [line for text in kept if text.question for line in (text.question, text.answer)]
        if lines:
            self._spans[window.document_id].add((window.start, window.end))
            self._notebook.add((window.document_id, window.start, window.end), lines)

    def about(self, window: Window) -> tuple[str, ...]:
        """The questions about a window, those of its parts in turn.

        Of a wider window that reaches into this one, those whose answer stands in this one.
        """
        found = []
        for start, end in sorted(self._spans.get(window.document_id, ())):
            if start >= window.end or end <= window.start:
                continue
            asked: dict[str, str] = {}
            for lines in self._notebook.about((window.document_id, start, end)):
                for question, answer in zip(lines[::2], lines[1::2], strict=True):
                    asked.setdefault(question, answer)
            inside = window.start <= start and end <= window.end
            found.append(list(asked) if inside else _answered(asked, window.text))
        rows = zip_longest(*found)
        return tuple(dict.fromkeys(question for row in rows for question in row if question))


def _answered(asked: Mapping[str, str], text: str) -> list[str]:
    known = set(_WORD.findall(text.casefold()))
    return [
        question
        for question, answer in asked.items()
        if known.issuperset(_WORD.findall(answer.casefold()))
    ]
