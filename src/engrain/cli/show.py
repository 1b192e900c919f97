"""`engrain show`: what a run holds: stages with counts and times, samples, the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: engrain show runs/demo --samples 2"


def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The run's folder.")],
    samples: Annotated[
        int,
        typer.Option(
            min=0, help="So many texts of each method, rejected replies, and answers of each arm."
        ),
    ] = 0,
) -> None:
    """Show a run: its stages with counts and times, samples, its table."""
    # Late: it brings pyarrow, a quarter of a second that `engrain --help` need not wait for.
    from engrain.cli.results import has_results, print_results, print_stages
    from engrain.cli.samples import print_samples

    print_stages(folder)
    if samples:
        print_samples(folder, samples)
    if has_results(folder):
        print_results(folder)
