"""Questions for a recipe that brings none: synthetic pairs that are kept out of training.

A pure function of the texts, which are read twice and never held: in memory are the pairs that can
be asked, without their texts. Such questions were written by the generator that also writes the
training texts, and other pairs may ask for the same fact in other words, so their accuracy says
less than that of real questions: they carry the kind `synthetic`, and the verdict says so.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from engrain.normalise import normalise
from engrain.records import SYNTHETIC_QUESTION, Question, SyntheticText

# A longer answer is a sentence, which exact match cannot grade.
_ANSWER_WORDS = 8


@dataclass(frozen=True, slots=True)
class _Pair:
    """A question that can be asked, and its answer."""

    id: str
    document_id: str
    question: str
    answer: str


def held_out(
    texts: Callable[[], Iterable[SyntheticText]], *, share: float, at_most: int, seed: int
) -> tuple[tuple[Question, ...], frozenset[str]]:
    """Choose about `share` of each document's questions, `at_most` in all.

    They are spread evenly over the documents, and a document keeps at least one question for
    training. The ids returned are of every text that
    must not be trained on: the chosen pairs, pairs with the same question, and texts that were
    focused on it. `texts` reads them anew at each call; their order changes nothing.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share!r}; it lies between 0 and 1")
    chosen = _spread([_slice(pairs, share, seed) for pairs in _by_document(texts())], at_most, seed)
    asked = {normalise(pair.question) for pair in chosen}
    excluded = (
        text.id
        for text in texts()
        if (text.question and normalise(text.question) in asked)
        or (text.focus and normalise(text.focus) in asked)
    )
    return tuple(_question(pair) for pair in chosen), frozenset(excluded)


def _by_document(texts: Iterable[SyntheticText]) -> list[list[_Pair]]:
    """Gradable pairs of each document, each question once."""
    gradable = [
        _Pair(text.id, text.document_id, text.question, text.answer)
        for text in texts
        if text.kind == "qa" and 1 <= len(text.answer.split()) <= _ANSWER_WORDS
    ]
    documents: dict[str, dict[str, _Pair]] = defaultdict(dict)
    for pair in sorted(gradable, key=lambda pair: pair.id):
        documents[pair.document_id].setdefault(normalise(pair.question), pair)
    return [list(documents[name].values()) for name in sorted(documents)]


def _slice(pairs: list[_Pair], share: float, seed: int) -> list[_Pair]:
    count = min(max(1, round(share * len(pairs))), len(pairs) - 1)
    return sorted(pairs, key=lambda pair: _rank(seed, pair.id))[:count]


def _spread(slices: list[list[_Pair]], at_most: int, seed: int) -> list[_Pair]:
    """Takes a first question of every document before a second of any."""
    turns = [
        (turn, _rank(seed, pair.document_id), pair.id, pair)
        for pairs in slices
        for turn, pair in enumerate(pairs)
    ]
    return [pair for *_, pair in sorted(turns, key=lambda entry: entry[:3])[:at_most]]


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()


def _question(pair: _Pair) -> Question:
    return Question(
        id=f"{SYNTHETIC_QUESTION}:{pair.id}",
        text=pair.question,
        answer=pair.answer,
        document_ids=(pair.document_id,),
        kind=SYNTHETIC_QUESTION,
    )
