"""Texts that repeat their instruction. Knows the templates in `prompts/`, not who renders them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from engrain.synthesize.verify.base import Candidate, Verdict, window_grams
from engrain.synthesize.words import grams, words

_TEMPLATES = Path(__file__).parent.parent / "prompts"
# What is filled in: documents, strategies and questions, which a text may well repeat.
_FIELD = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)


class PromptEcho:
    """Texts with so many words in a row of an instruction.

    The words must not stand in the window as well: a document may be about prompts.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        # A run of `size` words holds a whole gram of half as many at every second place.
        self._half = (size + 1) // 2
        self._instruction = _instruction_grams(size)
        self._halves = _instruction_grams(self._half)

    def judge(self, candidate: Candidate) -> Verdict | None:
        """`prompt_echo`."""
        tokens, half = candidate.folded, self._half
        if not any(
            tuple(tokens[start : start + half]) in self._halves
            for start in range(0, len(tokens) - half + 1, half)
        ):
            return None
        for gram in grams(tokens, self._size):
            if gram in self._instruction and gram not in window_grams(candidate.window, self._size):
                return Verdict("prompt_echo", f"repeats the instruction: {' '.join(gram)!r}")
        return None


@cache
def _instruction_grams(size: int) -> frozenset[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for path in sorted(_TEMPLATES.glob("*.jinja")):
        for part in _FIELD.split(path.read_text(encoding="utf-8")):
            found.update(grams(words(part), size))
    return frozenset(found)
