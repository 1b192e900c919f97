"""The exact forms in which a question is put to a reader.

Pure functions of texts: knows nothing of arms, retrieval or grading. The testbed's student is
pre-trained on these forms, so a change here needs a new student.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from engrain.backends.base import Message
from engrain.retrieve.chunks import Passage

SHORT_ANSWER = 'Answer the question. Explain first, then end with "Answer:" and the answer alone.'
MULTIPLE_CHOICE = (
    'Answer the multiple-choice question. Explain first, then end with "Answer:" '
    "and the letter alone."
)
LETTERS = ascii_uppercase


def prompt(
    question: str, *, options: Sequence[str] = (), passages: Sequence[Passage] = ()
) -> tuple[Message, ...]:
    """A system and a user message; with `options` in the order shown, the letter is asked for.

    `passages` stand before the question in the order given: the best belongs last, nearest to the
    question.
    """
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options; there are letters for {len(LETTERS)}")
    parts = [f"[{passage.title}]\n{passage.text}" for passage in passages]
    choices = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    parts.append("\n".join([f"Question: {question}", *choices]))
    system = MULTIPLE_CHOICE if options else SHORT_ANSWER
    return Message("system", system), Message("user", "\n\n".join(parts))
