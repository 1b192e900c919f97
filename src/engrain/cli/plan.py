"""`engrain plan`: what a recipe would do and cost. No model is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engrain.cli.options import RecipeFile

if TYPE_CHECKING:
    from engrain.planning import Plan

EXAMPLE = "Example: engrain plan handbook.yaml"


def plan(recipe: RecipeFile) -> None:
    """Say what a recipe would do and cost; no model is asked."""
    # Late: planning composes every stage's settings; `engrain --help` need not wait for them.
    import engrain.planning as planning
    from engrain.cli.display import terminal
    from engrain.recipe import load

    print_plan(planning.plan(load(recipe), progress=terminal()))


def print_plan(made: Plan) -> None:
    """The plan as lines and a table."""
    from engrain.cli.results import columns
    from engrain.report.formats import quantity

    print(
        f"documents   {made.documents:,} ({made.skipped:,} skipped), "
        f"{quantity(made.characters)} characters"
    )
    print(f"questions   {made.questions:,}\n")
    generation = made.generation
    print(f"generator   {generation.requests:,} requests about {generation.windows:,} windows")
    shareable = quantity(generation.prompt_tokens_shareable)
    print(
        f"  prompts   {quantity(generation.prompt_tokens)} tokens, "
        f"of which a prefix cache may serve {shareable}"
    )
    print(f"  replies   {quantity(generation.completion_tokens)} tokens")
    print(f"  money     {_money(made)}\n")
    rows = [["training", "synthetic tokens", "trained tokens", "FLOPs"]]
    for budget in made.budgets:
        flops = "unknown" if budget.flops is None else f"{budget.flops:.2g}"
        rows.append(
            [
                f"budget {budget.share:g}",
                quantity(budget.synthetic_tokens),
                quantity(budget.trained_tokens),
                flops,
            ]
        )
    print(columns(rows))
    hours = made.gpu_hours
    print(f"GPU-hours   {'unknown' if hours is None else f'{hours:.2g} (one H100)'}\n")
    print(f"evaluation  {made.evaluation_requests:,} answers\n")
    for assumption in made.assumptions:
        print(f"Assumes: {assumption}.")


def _money(made: Plan) -> str:
    cached, uncached = made.generation.usd_cached, made.generation.usd
    if cached is None or uncached is None:
        return "not estimated: the recipe gives no generator.price"
    estimate = f"{cached:,.2f} to {uncached:,.2f} US dollars (with and without prefix caching)"
    if made.usd_limit is not None and uncached > made.usd_limit:
        return f"{estimate}; synthesis.budget.usd stops it at {made.usd_limit:,.2f}"
    return estimate
