"""Samples of a run for the terminal: texts with their lineage, rejected replies, answers."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path

from engrain.artifacts import attempts, documents, rejected, texts
from engrain.cli.results import find_records
from engrain.errors import UserError
from engrain.store import Artifact, load


def print_samples(folder: Path, count: int) -> None:
    """So many texts of each method, rejected replies, and answers of each arm."""
    found = {record["stage"]: load(path) for path, record in find_records(folder)}
    corpus, synthetic = found.get("corpus"), found.get("synthesize")
    if corpus is None or synthetic is None:
        raise UserError(
            f"no synthetic texts in {str(folder)!r} yet; "
            f"run: engrain synthesize RECIPE --out {folder}"
        )
    _print_texts(corpus, synthetic, count)
    for path, record in find_records(folder):
        made = load(path) if record["stage"] == "evaluate" else None
        if made is not None:
            _print_answers(made, count)


def _print_texts(corpus: Artifact, synthetic: Artifact, count: int) -> None:
    titles = {document.id: document.title for document in documents(corpus)}
    for method, group in itertools.groupby(texts(synthetic), key=lambda text: text.method):
        for text in itertools.islice(group, count):
            _heading(f"{method}, from {titles.get(text.document_id, text.document_id)!r}")
            for label, value in (
                ("strategy", text.strategy),
                ("focus", text.focus),
                ("question", text.question),
            ):
                if value:
                    _paragraph(f"{label}: {value}")
            _paragraph(text.text)
    for reply in itertools.islice(rejected(synthetic), count):
        _heading(
            f"rejected ({reply.reason}), {reply.method}, from {titles.get(reply.document_id, '')!r}"
        )
        _paragraph(reply.detail)


def _print_answers(evaluated: Artifact, count: int) -> None:
    for arm, group in itertools.groupby(attempts(evaluated), key=lambda attempt: attempt.arm):
        for attempt in itertools.islice(group, count):
            _heading(f"{arm} ({evaluated.path.name}), {'right' if attempt.correct else 'wrong'}")
            # The question ends the prompt; passages before it may fill pages.
            _paragraph(
                "... " + attempt.prompt[-400:] if len(attempt.prompt) > 400 else attempt.prompt
            )
            _paragraph(attempt.reply)
            _paragraph(f"gold: {attempt.gold}")


def _heading(line: str) -> None:
    print(f"\n== {line}")


def _paragraph(text: str) -> None:
    for line in text.splitlines():
        # Control characters of a document or a reply must not reach the terminal.
        printable = "".join(char if char.isprintable() or char == "\t" else "?" for char in line)
        print(textwrap.fill(printable, width=100, initial_indent="  ", subsequent_indent="  "))
