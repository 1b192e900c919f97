"""`engrain export`: a trained student as a folder that transformers and vLLM load as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from engrain.cli.options import INTERRUPTED

EXAMPLE = "Example: engrain export runs/handbook --to handbook-8b --license apache-2.0"


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    to: Annotated[
        Path,
        typer.Option(
            "--to", metavar="FOLDER", help="Where the model goes; its last part names the model."
        ),
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL", help="Which checkpoint, by its folder's name; the largest by default."
        ),
    ] = None,
    dtype: Annotated[
        Literal["as-is", "bf16"],
        typer.Option(help="The weights as the checkpoint has them, or rounded to bfloat16."),
    ] = "as-is",
    license: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The card's, as the hub spells it; `unknown` by default."),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The card's, where the student came from a folder: its hub name."
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="The card's; by default what the documents are in."),
    ] = None,
    titles: Annotated[
        bool, typer.Option("--titles", help="List the documents' titles on the card.")
    ] = False,
) -> None:
    """Export a trained student: weights, tokenizer and a model card.

    The card says what was taught, how, what came of it and what made it; no text of a document and
    no path is in the folder. An earlier export there is replaced, anything else is left alone.
    """
    # Late: it brings the pipeline and, once the target is known to be free, torch.
    import engrain.export.run as exporting
    from engrain.report.formats import quantity

    try:
        made = exporting.export(
            folder,
            to,
            budget=budget,
            dtype=dtype,
            licence=license,
            base_model=base_model,
            language=language,
            titles=titles,
        )
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    written = made.written
    print(
        f"{written.architecture}, {quantity(written.parameters)} parameters, {written.dtype}: "
        f"checkpoint {made.label} of {folder}"
    )
    print(f"{made.folder}: {', '.join(made.files)}")
    if not made.evaluated:
        print("Note: this student has no results of its own, and the card says so.")
    print(f"next: engrain ask {made.folder}, transformers serve {made.folder}, or vllm serve")
