"""Focal Rewriting (arXiv 2603.23562): which strategy meets which synthetic question, and when.

The questions are those of the pairs that the generator wrote, never evaluation questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def pair(number: int, strategies: Sequence[str], questions: Sequence[str]) -> tuple[str, str]:
    """Text `number`'s strategy and question; the question is empty where there are none.

    Every question is used once before any is used twice, every strategy likewise, and every pair of
    them once before any pair comes again. Questions are taken in the order in which they were
    written, so that a larger budget, which has more of them, begins with the texts of a smaller
    one.
    """
    if not questions:
        return strategies[number % len(strategies)], ""
    # Going down both lists at once meets lcm(s, q) pairs; one step aside then starts on the others.
    aside = number // math.lcm(len(strategies), len(questions))
    return strategies[(number + aside) % len(strategies)], questions[number % len(questions)]
