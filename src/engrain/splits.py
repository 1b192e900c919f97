"""Synthetic texts that are held out: asked in place of questions, or read during training.

Writes both sides of a split as artifacts' files, so that the stages after it need not know of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from engrain.artifacts import (
    DOCUMENTS,
    DOCUMENTS_FINGERPRINT,
    KEPT,
    QUESTIONS,
    TEXTS_FINGERPRINT,
    documents,
    documents_fingerprint,
    fingerprint_texts,
    texts,
)
from engrain.errors import UserError
from engrain.evaluate.heldout import held_out
from engrain.records import Document, Question, SyntheticText
from engrain.store import Artifact, write_rows
from engrain.train.held_back import KINDS, hold_back, kind_of
from engrain.train.settings import ValidationSettings


def split(
    corpus: Artifact, synthetic: Artifact, directory: Path, settings: Mapping[str, float | int]
) -> Mapping[str, int | str]:
    """Write a corpus with held-out synthetic questions, and the synthetic texts without them."""
    everything = list(texts(synthetic))
    questions, excluded = held_out(
        everything,
        share=settings["share"],
        at_most=int(settings["at_most"]),
        seed=int(settings["seed"]),
    )
    if not questions:
        raise UserError(
            "the recipe brings no questions, and none can be held out: no document has two "
            "question-answer pairs with short answers; give questions.path, or a larger "
            "synthesis.budget"
        )
    write_rows(directory / DOCUMENTS, Document, documents(corpus))
    write_rows(directory / QUESTIONS, Question, questions)
    kept = [text for text in everything if text.id not in excluded]
    _write_texts(directory, kept, {text.method for text in everything})
    return {
        "questions": len(questions),
        "texts": len(kept),
        "left_out": len(excluded),
        DOCUMENTS_FINGERPRINT: documents_fingerprint(corpus),
        TEXTS_FINGERPRINT: fingerprint_texts(kept),
    }


def parted(
    synthetic: Artifact, part: str, wanted: ValidationSettings, seed: int, directory: Path
) -> Mapping[str, int | str]:
    """Write the texts that are read during training, or the rest, which is trained on."""
    everything = list(texts(synthetic))
    read, left_out = hold_back(everything, wanted, seed=seed)
    kept = [
        text
        for text in everything
        if (text.id in read if part == "texts" else text.id not in left_out)
    ]
    if part == "texts" and not kept:
        raise UserError(
            "training.validation has nothing to read: no document has two synthetic texts of a "
            "kind; give a larger synthesis.budget, or take training.validation out"
        )
    _write_texts(directory, kept, {text.method for text in everything})
    return {
        **{kind: sum(kind_of(text) == kind for text in kept) for kind in KINDS},
        TEXTS_FINGERPRINT: fingerprint_texts(kept),
    }


def _write_texts(directory: Path, kept: Sequence[SyntheticText], methods: Iterable[str]) -> None:
    for method in sorted(methods):
        write_rows(
            directory / KEPT / f"{method}.parquet",
            SyntheticText,
            (text for text in kept if text.method == method),
        )
