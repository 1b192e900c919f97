"""One verb per stage: `engrain mix RECIPE` runs a recipe up to and including that stage.

The seven verbs differ in nothing but the stage, so they are made from one table.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engrain.cli.options import OutFolder, RecipeFile, resumable

_DOES = {
    "corpus": "Read the documents and questions",
    "synthesize": "Let the generator write the synthetic texts",
    "mix": "Mix and pack the training texts for each budget",
    "train": "Train one student on each mixture",
    "evaluate": "Ask the questions in every arm",
    "analyze": "Compare the arms, question by question",
    "report": "Write the report",
}


def example(stage: str) -> str:
    """The example under a stage's help."""
    return f"Example: engrain {stage} handbook.yaml --out runs/handbook"


def _verb(stage: str) -> Callable[..., None]:
    def verb(recipe: RecipeFile, out: OutFolder = None) -> None:
        # Late: the pipeline composes every stage's settings; `engrain --help` need not wait.
        import engrain.pipeline as pipeline
        from engrain.cli.display import terminal
        from engrain.cli.results import print_stages
        from engrain.recipe import load

        loaded = load(recipe)
        folder = out or Path("runs") / loaded.name
        with resumable():
            pipeline.run(loaded, folder, progress=terminal(), until=stage)
        print_stages(folder)

    verb.__doc__ = (
        f"{_DOES[stage]}.\n\n"
        "Runs the recipe up to and including this stage; what is done already is skipped."
    )
    return verb


VERBS = {stage: _verb(stage) for stage in _DOES}
