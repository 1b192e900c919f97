"""`engrain plan` is free; a pilot pays for a few documents, and the run goes on from there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from engrain.backends.ledger import Ledger
from engrain.cli.main import app
from engrain.testbed import world


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    built = world.build(seed=3, split="target", documents=6)
    world.write_folder(built, tmp_path / "library", world.ask(built, seed=0, per_document=1))
    path = tmp_path / "recipe.yaml"
    settings = {
        "name": "tiny",
        "corpus": {"paths": [str(tmp_path / "library" / "documents")]},
        "generator": {"backend": "testbed", "price": {"prompt": 1.0, "completion": 2.0}},
        "synthesis": {"budget": {"tokens": 20_000}},
        "student": {"model": "testbed"},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def output(verb: str, *arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [verb, *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_plan_leaves_nothing_and_a_pilot_its_replies(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    free = output("plan", recipe)
    assert sorted(tmp_path.rglob("*")) == before
    assert "pilot" not in free and "interval" not in free
    assert "Assumes: a token is four characters of English." in free

    paid = output("plan", recipe, "--pilot", "4")
    found = re.search(r"^pilot +(\d+) requests about 4 documents \(0 paid", paid, re.M)
    assert found is not None
    asked = int(found[1])
    assert re.search(r"^generator +[\d,]+ requests .* \(95 % interval .* to .*\)$", paid, re.M)
    assert re.search(r"^  money .*95 % interval [\d.]+ to [\d.]+$", paid, re.M)
    with Ledger(tmp_path / "runs" / "tiny" / "synthetic" / "ledger.sqlite") as ledger:
        assert len(ledger) == asked > 0
    again = output("plan", recipe, "--pilot", "4")
    assert f"({asked} paid for before)" in again

    output("synthesize", recipe)
    record = json.loads((tmp_path / "runs" / "tiny" / "synthetic" / "record.json").read_text())
    with Ledger(tmp_path / "runs" / "tiny" / "synthetic" / "ledger.sqlite") as ledger:
        assert len(ledger) == record["counts"]["requests"]
