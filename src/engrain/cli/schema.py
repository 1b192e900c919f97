"""`engrain schema`: the JSON Schema of a recipe, for editors."""

from __future__ import annotations

import json

EXAMPLE = "Example: engrain schema > recipe.schema.json"


def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    # Late: it composes every stage's settings, which the other verbs need not wait for.
    import engrain.recipe as recipe

    print(json.dumps(recipe.schema(), indent=2))
