"""FinanceBench in its own format: filings as PDF, and one file of questions.

A question: {"financebench_id", "question", "answer", "doc_name", "question_type", "evidence":
[{"evidence_text", "doc_name", "evidence_page_num"}]}; `doc_name` is the PDF's stem. The question
file is told by its first line; other jsonl files (document information, model answers) are left
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engrain.artifacts import Skipped
from engrain.corpus.draft import Draft, Unusable
from engrain.corpus.pdf import read_pdf
from engrain.corpus.settings import CorpusSettings
from engrain.corpus.tables import NumberedRow, rows
from engrain.corpus.text import stem_title

SUFFIX = ".pdf"


def documents(path: Path, source: str, settings: CorpusSettings) -> Iterator[Draft | Skipped]:
    """One filing, titled by its name: the titles in the PDFs are filing numbers."""
    for draft in read_pdf(path, source, settings):
        yield replace(draft, title=stem_title(path.stem)) if isinstance(draft, Draft) else draft


def questions(path: Path) -> Iterator[NumberedRow]:
    """The questions of one file as rows of a question file; none from other files."""
    for number, row in rows(path):
        if isinstance(row, Unusable):
            yield number, row
        elif "financebench_id" not in row or "evidence" not in row:
            return
        else:
            yield number, _row(row)


def _row(row: Mapping[str, Any]) -> Mapping[str, Any] | Unusable:
    try:
        evidence = row["evidence"]
        return {
            "id": row["financebench_id"],
            "question": row["question"],
            "answer": row["answer"],
            "documents": [row["doc_name"], *(one["doc_name"] for one in evidence)],
            "evidence": [one["evidence_text"] for one in evidence],
            "kind": row.get("question_type"),
        }
    except (KeyError, TypeError) as error:
        return Unusable(
            "malformed", f"the question lacks a field or has one of the wrong type ({error})"
        )
