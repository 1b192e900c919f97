"""Synthetic texts that are held out: asked in place of questions, or read during training.

Writes both sides of a split as artifacts' files, so that the stages after it need not know of it.
Texts are streamed: memory holds ids, and the questions that are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
    texts_in,
)
from engrain.errors import UserError
from engrain.evaluate.heldout import held_out
from engrain.records import Document, Question, SyntheticText
from engrain.store import Artifact, RowWriter, write_rows
from engrain.train.held_back import KINDS, hold_back, kind_of
from engrain.train.settings import ValidationSettings


def split(
    corpus: Artifact, synthetic: Artifact, directory: Path, settings: Mapping[str, float | int]
) -> Mapping[str, int | str]:
    """Write a corpus with held-out synthetic questions, and the synthetic texts without them."""
    questions, excluded = held_out(
        lambda: texts(synthetic),
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
    kept = _write_texts(synthetic, directory, lambda text: text.id not in excluded)
    return {
        "questions": len(questions),
        "texts": kept.total(),
        "left_out": len(excluded),
        DOCUMENTS_FINGERPRINT: documents_fingerprint(corpus),
        TEXTS_FINGERPRINT: fingerprint_texts(texts_in(directory)),
    }


def parted(
    synthetic: Artifact, part: str, wanted: ValidationSettings, seed: int, directory: Path
) -> Mapping[str, int | str]:
    """Write the texts that are read during training, or the rest, which is trained on."""
    read, left_out = hold_back(lambda: texts(synthetic), wanted, seed=seed)
    if part == "texts" and not read:
        raise UserError(
            "training.validation has nothing to read: no document has two synthetic texts of a "
            "kind; give a larger synthesis.budget, or take training.validation out"
        )
    kept = _write_texts(
        synthetic,
        directory,
        lambda text: text.id in read if part == "texts" else text.id not in left_out,
    )
    return {
        **{kind: kept[kind] for kind in KINDS},
        TEXTS_FINGERPRINT: fingerprint_texts(texts_in(directory)),
    }


def _write_texts(
    synthetic: Artifact, directory: Path, keep: Callable[[SyntheticText], bool]
) -> Counter[str]:
    """Write a file for each method, of the texts to keep; returns how many of each kind these are.

    Files of an earlier build are removed: a method's would outlive it, and be trained on.
    """
    folder = directory / KEPT
    for path in folder.glob("*.parquet"):
        path.unlink()
    kept = Counter[str]()
    writers: dict[str, RowWriter[SyntheticText]] = {}
    with ExitStack() as files:
        for text in texts(synthetic):
            if text.method not in writers:
                writer = RowWriter(folder / f"{text.method}.parquet", SyntheticText)
                writers[text.method] = files.enter_context(writer)
            if keep(text):
                writers[text.method].append(text)
                kept[kind_of(text)] += 1
    return kept
