"""What several verbs share: the arguments RECIPE and --out, and how an interruption ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

INTERRUPTED = 130
"""The shell's code for a process that SIGINT ended."""

RecipeFile = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="The recipe, a YAML file; `engrain init` writes one."),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run's folder; runs/NAME by default, NAME as in the recipe.",
    ),
]


@contextmanager
def resumable() -> Iterator[None]:
    """Ends an interruption with one line and exit code 130: the block can be run again."""
    try:
        yield
    except KeyboardInterrupt:
        print(
            "engrain: interrupted; the same command continues where this one stopped",
            file=sys.stderr,
        )
        raise typer.Exit(INTERRUPTED) from None
