"""`engrain run`: a recipe, from documents to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engrain.cli.options import OutFolder, RecipeFile, resumable

EXAMPLE = "Example: engrain run handbook.yaml --out runs/handbook"


def run(
    recipe: RecipeFile,
    out: OutFolder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would do and cost.")
    ] = False,
) -> None:
    """Run a recipe, from documents to the report.

    Ends with the table, the verdict and the report. After an interruption or a change run it again:
    what is done already and replies that were paid for are kept.
    """
    # Late: the pipeline composes every stage's settings; `engrain --help` need not wait for them.
    import engrain.pipeline as pipeline
    import engrain.planning as planning
    from engrain.cli.display import terminal
    from engrain.cli.plan import print_plan
    from engrain.cli.results import print_results
    from engrain.recipe import load

    loaded = load(recipe)
    if dry_run:
        print_plan(planning.plan(loaded, progress=terminal()))
        return
    with resumable():
        folder = out or Path("runs") / loaded.name
        pipeline.run(loaded, folder, progress=terminal())
    print_results(folder)
