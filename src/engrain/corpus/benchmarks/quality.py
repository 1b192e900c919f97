"""QuALITY in the project's data format: a story a line, with its four-choice questions.

A line: {"doc_id", "title", "article", "questions": [{"id", "question", "options", "gold"}],
"same_as"?}; `gold` counts from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engrain.artifacts import Skipped
from engrain.corpus.draft import Draft, Unusable
from engrain.corpus.settings import CorpusSettings
from engrain.corpus.tables import NumberedRow, rows

SUFFIX = ".jsonl"


def documents(path: Path, source: str, settings: CorpusSettings) -> Iterator[Draft | Skipped]:
    """The stories of one file, under the benchmark's own ids."""
    for number, row in rows(path):
        place = f"{source}#{number}"
        if isinstance(row, Unusable):
            yield Skipped(source=place, reason=row.reason, detail=row.detail)
            continue
        name, text = row.get("doc_id"), row.get("article")
        if not isinstance(name, str) or not isinstance(text, str):
            yield Skipped(
                source=place,
                reason="malformed",
                detail="the line is not a QuALITY story: no 'doc_id' or 'article'",
            )
            continue
        title = row.get("title")
        yield Draft(
            source=place,
            key=name,
            id=name,
            text=text,
            title=title if isinstance(title, str) else "",
            names=(name,),
            same_as=str(row.get("same_as") or ""),
        )


def questions(path: Path) -> Iterator[NumberedRow]:
    """The questions of one file as rows of a question file, numbered by the story's line."""
    for number, row in rows(path):
        asked = None if isinstance(row, Unusable) else row.get("questions")
        for question in asked if isinstance(asked, list) else []:
            assert not isinstance(row, Unusable)
            yield number, _row(question, row.get("doc_id"))


def _row(question: Any, document: Any) -> Mapping[str, Any] | Unusable:
    try:
        options, gold = question["options"], question["gold"]
        if not 0 <= gold < len(options):
            return Unusable(
                "answer_not_an_option", f"gold is {gold!r} among {len(options)} options"
            )
        return {
            "id": question["id"],
            "question": question["question"],
            "options": options,
            "answer": options[gold],
            "documents": document,
        }
    except (KeyError, TypeError) as error:
        return Unusable(
            "malformed", f"the question lacks a field or has one of the wrong type ({error})"
        )
