"""`engrain trace`: how a synthetic text came about, and what was made from a document."""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engrain.errors import UserError

if TYPE_CHECKING:
    from engrain.records import Rejected, SyntheticText
    from engrain.store import Artifact
    from engrain.synthesize.base import Asked
    from engrain.synthesize.trace import Origin

EXAMPLE = "Example: engrain trace runs/handbook --document leave.md --json"


def trace(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="The folder of a run, or of its synthetic texts."),
    ],
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The id of a synthetic text.")
    ] = None,
    document: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A document's id or source: show everything made from it."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON: one object, or one line for each thing made.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Delete replies that the run no longer uses, as those about removed documents.",
        ),
    ] = False,
) -> None:
    """Show how a synthetic text came about, or everything made from a document."""
    # Late: it brings pyarrow, a quarter of a second that `engrain --help` need not wait for.
    import engrain.synthesize.trace as tracing

    if [text is not None, document is not None, prune].count(True) != 1:
        raise UserError("trace needs one of TEXT, --document and --prune; see engrain trace --help")
    synthetic = _synthetic(folder)
    if prune:
        _print_pruned(tracing.prune(synthetic), as_json)
    elif text is not None:
        origin = tracing.trace(synthetic, text)
        if as_json:
            print(json.dumps(origin.as_json(), indent=2))
        else:
            print_origin(origin, _source(synthetic, origin.text.document_id))
    elif document is not None:
        found = _document(synthetic, document)
        if found is None:
            print(
                f"engrain: the corpus has no document {document!r}; this is what is left of one "
                "that had this id",
                file=sys.stderr,
            )
        print_made(tracing.made_from(synthetic, found or document), as_json=as_json)


def print_origin(origin: Origin, source: str) -> None:
    """A text's origin as labelled lines; the prompt and the texts in full."""
    text, asked = origin.text, origin.asked
    sampling = ", ".join(f"{name} {value}" for name, value in origin.sampling.items())
    _lines(
        {
            "text": text.id,
            "kind": text.kind,
            "method": text.method,
            "document": f"{text.document_id}{source}",
            "window": str(asked.window),
            "focus": text.focus,
            "strategy": text.strategy,
            "model": origin.model,
            "settings": f"{sampling}, sample {asked.sample}, seed {origin.seed}",
            "request": asked.request_id,
            "prompt": f"{asked.prompt_tokens:,} tokens, {asked.cached_prompt_tokens:,} cached",
            "reply": f"{asked.completion_tokens:,} tokens, {text.tokens:,} of them this text",
        }
    )
    _block("text", f"{text.question}\n{text.text}" if text.question else text.text)
    for other in origin.siblings:
        _block(f"same reply, kept {other.id}", f"{other.question}\n{other.text}".strip())
    for row in origin.rejected:
        _block(f"same reply, rejected ({row.reason}: {row.detail})", row.text)
    _block("prompt", asked.prompt)


def print_made(rows: Iterable[SyntheticText | Rejected | Asked], *, as_json: bool) -> None:
    """One line for each thing that was made, and how many there were."""
    from engrain.records import Rejected, SyntheticText

    counts = {"kept": 0, "rejected": 0, "request": 0}
    for row in rows:
        if isinstance(row, SyntheticText):
            sort, line = "kept", f"{row.id}  {row.method}  {row.question or row.text}"
        elif isinstance(row, Rejected):
            sort, line = "rejected", f"{row.request_id}  {row.method}  {row.reason}: {row.detail}"
        else:
            about = row.focus or row.strategy
            sort, line = "request", f"{row.request_id}  {row.method}  window {row.window}  {about}"
        counts[sort] += 1
        if as_json:
            print(json.dumps({"sort": sort, **dataclasses.asdict(row)}))
        else:
            print(f"{sort:8s}  {_printable(' '.join(line.split())[:160])}")
    if not as_json:
        print(
            f"{counts['kept']:,} texts kept, {counts['rejected']:,} rejected, "
            f"{counts['request']:,} requests"
        )


def _print_pruned(count: int, as_json: bool) -> None:
    print(json.dumps({"deleted": count}) if as_json else f"{count:,} replies deleted")


def _synthetic(folder: Path) -> Artifact:
    from engrain.store import load

    for place in (folder, folder / "synthetic"):
        found = load(place)
        if found is not None and found.stage == "synthesize":
            return found
    raise UserError(
        f"no finished synthesis in {str(folder)!r}; name the --out folder of a run, "
        "or its folder `synthetic`"
    )


def _corpus(synthetic: Artifact) -> Artifact | None:
    from engrain.store import load

    return load(synthetic.path.parent / "corpus")


def _document(synthetic: Artifact, named: str) -> str | None:
    """The id of a document of the corpus; None for one that left it, which has only its id."""
    from engrain.artifacts import documents

    corpus = _corpus(synthetic)
    if corpus is not None:
        for document in documents(corpus):
            if named in (document.id, document.source):
                return document.id
    return None


def _source(synthetic: Artifact, document_id: str) -> str:
    from engrain.artifacts import documents

    corpus = _corpus(synthetic)
    if corpus is not None:
        for document in documents(corpus):
            if document.id == document_id:
                return f" ({document.source})"
    return ""


def _lines(fields: dict[str, Any]) -> None:
    for label, value in fields.items():
        if value:
            print(f"{label:9s} {_printable(value)}")


def _block(heading: str, text: str) -> None:
    print(f"\n== {_printable(heading)}")
    for line in text.splitlines():
        print(textwrap.indent(_printable(line), "  "))


def _printable(text: str) -> str:
    """Control characters of a document or a reply must not reach the terminal."""
    return "".join(char if char.isprintable() or char == "\t" else "?" for char in text)
