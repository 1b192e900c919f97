"""What the generator said of its own texts, where it was asked: `judged.json`, and what it cost.

Knows the fields of that file and the titles of documents; computes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engrain.artifacts import documents
from engrain.errors import UserError
from engrain.report.facts import Generation, Spent
from engrain.store import Artifact

JUDGED = "judged.json"
CLOSED_BOOK = "closed_book"
"""Among the methods of answerability: what was answered without any text."""

UNTESTED = (
    "The judge is the generator itself, and nobody has compared its verdicts with a person's: "
    "before you rely on a level, judge some of the texts yourself."
)
TESTED = (
    "The judge is the testbed's writer, which compares statements by the grammar of its world: its "
    "verdicts are tested against the truth; no other model's are."
)
FAITHFUL = (
    "The share says of how many texts the judge found every statement in the document. It can show "
    "that one method invents more than another; it is not the share of texts without errors, "
    "because a model may overlook in reading what it got wrong in writing."
)
ANSWERABLE = (
    "What is above the closed book says how much of what the pairs ask is told by the other texts "
    "too: a forecast of what training can teach. It is not the accuracy of a student, and a wrong "
    "pair counts against the texts."
)

# A few of each method show what the judge means.
_EXAMPLES = 3
_SAID = 500
"""Characters of what a judge or a pair says; a title has as few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """The texts of one method, or the answers that were given from them."""

    method: str
    n: int
    documents: int
    share: float | None
    """Faithful ones, or right answers; None where nothing was judged."""
    low: float | None
    high: float | None
    unparsable_share: float | None
    """Of the replies: those that could not be read."""
    failed: int
    no: int | None = None
    unclear: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfaithful:
    """A text that was judged unfaithful, and why."""

    text_id: str
    title: str
    """Of the document."""
    text: str
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A question that was answered wrong."""

    text_id: str
    title: str
    """Of the document."""
    question: str
    answer: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What one judge said."""

    drawn: int
    asked: int
    stopped: str
    """Why fewer were asked about than drawn; empty where none is missing."""
    rejected: int
    """Texts that are not trained on for it."""
    methods: tuple[Rated, ...]
    unfaithful: Mapping[str, tuple[Unfaithful, ...]]
    """A few, by method."""
    missed: Mapping[str, tuple[Missed, ...]]
    """A few, by method; without texts all may be missed."""
    spent: Spent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Both of them; None for one that was not asked."""

    faithfulness: Judge | None
    answerability: Judge | None


def read_judges(
    corpus: Artifact, synthetic: Artifact, generation: Generation | None
) -> Judges | None:
    """What was judged; None where nothing was. Raises UserError where a field is missing."""
    path = synthetic.path / JUDGED
    if not path.exists():
        return None
    raw = json.loads(path.read_text(encoding="utf-8"))
    try:
        titles = _titles(corpus, raw)
        return Judges(
            faithfulness=_judge("faithfulness", raw, "faithful", titles, generation),
            answerability=_judge("answerability", raw, "accuracy", titles, generation),
        )
    except KeyError as error:
        raise UserError(
            f"{str(path)!r} has no {error.args[0]!r}; delete the record.json beside it to judge "
            "again, which pays for nothing that was answered"
        ) from error


def _judge(
    name: str,
    raw: Mapping[str, Any],
    figure: str,
    titles: Mapping[str, str],
    generation: Generation | None,
) -> Judge | None:
    if name not in raw:
        return None
    part, methods = raw[name], raw[name]["methods"]
    return Judge(
        drawn=part["drawn"],
        asked=part["asked"],
        stopped=part["stopped"],
        rejected=part.get("rejected", 0),
        methods=tuple(_rated(method, one, figure) for method, one in methods.items()),
        unfaithful={
            method: tuple(_unfaithful(row, titles) for row in one["unsupported"][:_EXAMPLES])
            for method, one in methods.items()
            if one.get("unsupported")
        },
        missed={
            method: tuple(_missed(row, titles) for row in one["missed"][:_EXAMPLES])
            for method, one in methods.items()
            if one.get("missed") and method != CLOSED_BOOK
        },
        spent=None if generation is None else generation.methods.get(f"judge_{name}"),
    )


def _rated(method: str, raw: Mapping[str, Any], figure: str) -> Rated:
    return Rated(
        method=method,
        n=raw["n"],
        documents=raw["documents"],
        share=raw[figure],
        low=raw["low"],
        high=raw["high"],
        unparsable_share=raw["unparsable_share"],
        failed=raw["failed"],
        no=raw.get("no"),
        unclear=raw.get("unclear"),
    )


def _unfaithful(row: Mapping[str, str], titles: Mapping[str, str]) -> Unfaithful:
    return Unfaithful(
        text_id=row["text_id"],
        title=titles[row["document_id"]][:_SAID],
        text=row["text"],
        statement=row["statement"][:_SAID],
    )


def _missed(row: Mapping[str, str], titles: Mapping[str, str]) -> Missed:
    return Missed(
        text_id=row["text_id"],
        title=titles[row["document_id"]][:_SAID],
        question=row["question"][:_SAID],
        answer=row["answer"][:_SAID],
        said=row["said"][:_SAID],
    )


def _titles(corpus: Artifact, raw: Mapping[str, Any]) -> dict[str, str]:
    """Titles of the documents that the examples are about."""
    wanted = {
        row["document_id"]
        for part in raw.values()
        for one in part["methods"].values()
        for row in one.get("unsupported", one.get("missed", []))
    }
    return {row.id: row.title for row in documents(corpus) if row.id in wanted}
