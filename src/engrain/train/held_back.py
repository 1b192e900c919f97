"""Which synthetic texts are held back from every mixture, to be read during training. Pure.

Chosen before anything is mixed, by identity alone: the same at every budget. Other texts tell the
same facts in other words, which is the point: their loss falls where the student learns what the
documents say, and not only the words it was trained on.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from engrain.normalise import normalise
from engrain.records import SyntheticText
from engrain.train.settings import ValidationSettings

KINDS = ("qa", "documents")
"""Read apart from one another."""


def kind_of(text: SyntheticText) -> str:
    """Under which of the kinds a text is read."""
    return "qa" if text.kind == "qa" else "documents"


def hold_back(
    texts: Callable[[], Iterable[SyntheticText]], settings: ValidationSettings, *, seed: int
) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of the texts to read, and of those that must not be trained on: these, and more.

    A first text of every document is taken before a second of any, and of each document and kind
    one at least stays. Not trained on are also pairs with a question that is read, and texts that
    are focused on one. `texts` is called for each pass over them; their order changes nothing.
    """
    ids: dict[str, dict[str, list[str]]] = {kind: defaultdict(list) for kind in KINDS}
    for text in texts():
        ids[kind_of(text)][text.document_id].append(text.id)
    read = frozenset(id for kind in KINDS for id in _spread(ids[kind], settings, seed))
    asked = {normalise(text.question) for text in texts() if text.id in read and text.question}
    left_out = {
        text.id
        for text in texts()
        if (text.question and normalise(text.question) in asked)
        or (text.focus and normalise(text.focus) in asked)
    }
    return read, read | left_out


def _spread(
    documents: Mapping[str, Sequence[str]], settings: ValidationSettings, seed: int
) -> list[str]:
    """Of the ids of each document's texts, those to read."""
    turns = []
    for document_id, own in documents.items():
        count = min(max(1, round(settings.share * len(own))), len(own) - 1)
        ranked = sorted(own, key=lambda id: _rank(seed, id))
        turns += [(turn, _rank(seed, document_id), id) for turn, id in enumerate(ranked[:count])]
    turns.sort(key=lambda entry: entry[:2])
    return [id for *_, id in turns[: settings.at_most]]


def _rank(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0validation\0{name}".encode()).hexdigest()
