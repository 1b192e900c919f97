"""Questions for a recipe that brings none: synthetic pairs that are kept out of training.

A pure function of the texts. Such questions were written by the generator that also writes the
training texts, and other pairs may ask for the same fact in other words, so their accuracy says
less than that of real questions: they carry the kind `synthetic`, and the verdict says so.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from engrain.normalise import normalise
from engrain.records import SYNTHETIC_QUESTION, Question, SyntheticText

# A longer answer is a sentence, which exact match cannot grade.
_ANSWER_WORDS = 8


def held_out(
    texts: Sequence[SyntheticText], *, share: float, at_most: int, seed: int
) -> tuple[tuple[Question, ...], frozenset[str]]:
    """Choose about `share` of each document's questions, `at_most` in all.

    They are spread evenly over the documents, and a document keeps at least one question for
    training. The ids returned are of every text that
    must not be trained on: the chosen pairs, pairs with the same question, and texts that were
    focused on it. Independent of the order of `texts`.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share!r}; it lies between 0 and 1")
    chosen = _spread([_slice(pairs, share, seed) for pairs in _by_document(texts)], at_most, seed)
    asked = {normalise(text.question) for text in chosen}
    excluded = (
        text.id
        for text in texts
        if (text.question and normalise(text.question) in asked)
        or (text.focus and normalise(text.focus) in asked)
    )
    return tuple(_question(text) for text in chosen), frozenset(excluded)


def _by_document(texts: Sequence[SyntheticText]) -> list[list[SyntheticText]]:
    """Gradable pairs of each document, each question once."""
    documents: dict[str, dict[str, SyntheticText]] = defaultdict(dict)
    for text in sorted(texts, key=lambda text: text.id):
        if text.kind == "qa" and 1 <= len(text.answer.split()) <= _ANSWER_WORDS:
            documents[text.document_id].setdefault(normalise(text.question), text)
    return [list(documents[name].values()) for name in sorted(documents)]


def _slice(pairs: list[SyntheticText], share: float, seed: int) -> list[SyntheticText]:
    count = min(max(1, round(share * len(pairs))), len(pairs) - 1)
    return sorted(pairs, key=lambda text: _rank(seed, text.id))[:count]


def _spread(slices: list[list[SyntheticText]], at_most: int, seed: int) -> list[SyntheticText]:
    """Takes a first question of every document before a second of any."""
    turns = [
        (turn, _rank(seed, text.document_id), text.id, text)
        for pairs in slices
        for turn, text in enumerate(pairs)
    ]
    return [text for *_, text in sorted(turns, key=lambda entry: entry[:3])[:at_most]]


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def _question(text: SyntheticText) -> Question:
    return Question(
        id=f"{SYNTHETIC_QUESTION}:{text.id}",
        text=text.question,
        answer=text.answer,
        document_ids=(text.document_id,),
        kind=SYNTHETIC_QUESTION,
    )
