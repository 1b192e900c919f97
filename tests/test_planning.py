"""What a plan says of training: the mixture's tokens, as its components ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engrain.planning import BudgetPlan, plan
from engrain.progress import Silent
from engrain.recipe import validate


@pytest.fixture
def planned(tmp_path):
    """The plan of the largest budget for 40,000 characters of documents and 100K tokens of text."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("A word or two. " * 2667)

    def make(mixture: dict[str, Any], **synthesis: Any) -> BudgetPlan:
        raw = {
            "name": "planned",
            "corpus": {"paths": [str(folder)]},
            "generator": {"backend": "testbed"},
            "synthesis": {"budget": {"tokens": 100_000}, **synthesis},
            "mixture": mixture,
            "student": {"model": "somebody/no-size"},
            "training": {"epochs": 2},
        }
        recipe = validate(raw, source="recipe.yaml", folder=Path("/"))
        return plan(recipe, progress=Silent()).budgets[-1]

    return make


QA: dict[str, Any] = {"name": "qa", "texts": "qa", "share": 0.4}
DOCUMENTS: dict[str, Any] = {"name": "documents", "texts": "documents", "share": 0.4}


def test_replay_and_epochs_come_on_top_of_what_is_mixed(planned):
    made = planned({"replay": {"share": 0.2, "source": "nobody/asks"}})
    assert (made.synthetic_tokens, made.trained_tokens) == (100_000, 250_000)


def test_the_tokens_that_the_recipe_names_are_those_that_are_trained_on(planned):
    made = planned({"tokens": 60_000})
    assert (made.synthetic_tokens, made.trained_tokens) == (60_000, 120_000)


def test_components_from_elsewhere_and_repetitions_are_trained_on_and_cost_no_generation(planned):
    elsewhere = {"name": "theirs", "texts": "qa", "run": "/none", "share": 0.2}
    made = planned({"components": [QA, DOCUMENTS, elsewhere]})
    # Half of 100K each of pairs and documents, at 0.4 each.
    assert (made.synthetic_tokens, made.trained_tokens) == (125_000, 250_000)
    source = {"name": "source", "texts": "source", "share": 0.2, "repeats": {"at_most": 8}}
    made = planned({"components": [QA, DOCUMENTS, source]})
    assert (made.synthetic_tokens, made.trained_tokens) == (100_000, 250_000)
    twice = [dict(QA, repeats=2), dict(DOCUMENTS, repeats=2), source]
    assert planned({"components": twice}).trained_tokens == 500_000


def test_the_scarcest_of_what_is_written_sets_the_size(planned):
    two = [
        {"method": "active_reading", "share": 0.4},
        {"method": "rewrite", "share": 0.1},
    ]
    parts = [
        dict(QA, share=0.5),
        {"name": "rewrites", "texts": "documents", "methods": ["rewrite"], "share": 0.25},
        {"name": "rest", "texts": "documents", "share": 0.25},
    ]
    made = planned({"components": parts}, documents=two, qa={"share": 0.5})
    assert made.synthetic_tokens == 40_000  # 0.1 of 100K are a quarter


def test_the_source_documents_alone_are_as_long_as_they_are(planned):
    made = planned({"components": [{"name": "s", "texts": "source", "share": 1, "repeats": 3}]})
    assert made.synthetic_tokens == 0
    assert made.trained_tokens == pytest.approx(2 * 3 * 40_005 / 4, rel=0.01)
