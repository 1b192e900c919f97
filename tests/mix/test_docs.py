"""The recipes in docs/mixture.md are read, and mix what they say."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from engrain import store
from engrain.artifacts import KEPT, QUESTIONS, texts
from engrain.mix.run import Others, mix
from engrain.progress import Silent
from engrain.recipe import validate
from engrain.records import Question, SyntheticText
from engrain.store import Artifact

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mixture.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def written(synthetic, tmp_path) -> Artifact:
    """Pairs, and documents of two methods."""
    rows = list(texts(synthetic(pairs=240, rewrites=280)))

    def build(folder: Path) -> dict[str, int]:
        pairs = [row for row in rows if row.kind == "qa"]
        rewrites = [row for row in rows if row.kind != "qa"]
        read = [dataclasses.replace(row, method="active_reading") for row in rewrites[70:]]
        for name, kept in (("qa", pairs), ("rewrite", rewrites[:70]), ("active_reading", read)):
            store.write_rows(folder / KEPT / f"{name}.parquet", SyntheticText, kept)
        return {"texts": len(rows)}

    return store.run_stage(
        tmp_path / "written",
        stage="synthesize",
        settings={},
        inputs={},
        build=build,
        say=lambda _: None,
    )


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_mixes_what_it_says(number, written, corpus, synthetic, chatml, tmp_path):
    raw = {
        "name": "example",
        "corpus": {"paths": ["."]},
        "generator": {"backend": "testbed"},
        "student": {"model": "testbed"},
        "synthesis": {
            "budget": {"tokens": 100_000},
            "documents": [
                {"method": "active_reading", "share": 0.4},
                {"method": "rewrite", "share": 0.1},
            ],
        },
        **yaml.safe_load(EXAMPLES[number]),
    }
    settings = validate(raw, source="docs/mixture.md", folder=tmp_path).mixture
    replay = settings.replay
    if replay is not None:  # On the hub, or a folder of the reader's.
        lines = [json.dumps({replay.text_field: f"General text {n}. " * 30}) for n in range(400)]
        general = tmp_path / "general.jsonl"
        general.write_text("\n".join(lines))
        here = replay.model_copy(update={"source": str(general), "subset": None, "revision": None})
        settings = settings.model_copy(update={"replay": here})
    store.write_rows(corpus.path / QUESTIONS, Question, [])
    named = [part.run for part in settings.components if part.run is not None]
    runs = {run: synthetic("another", pairs=400, rewrites=1) for run in named}
    made = mix(
        written,
        corpus,
        settings,
        chatml,
        tmp_path / "mixture",
        share=1.0,
        sequence_length=128,
        seed=0,
        progress=Silent(),
        others=Others(runs, lambda text: False),
    )
    told = json.loads((made.path / "composition.json").read_text())["components"]
    left = 1.0 if replay is None else 1 - replay.share
    for part in settings.parts:
        assert told[part.name]["share"] == pytest.approx(left * part.share, abs=0.01)
