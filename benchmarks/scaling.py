"""A growth curve two ways: students trained separately, and cooled down from one long run.

On the testbed, the same texts, schedule and seed; what differs is where the shorter students come
from, and what they cost. Held-back texts are read in both. Usage: make bench NAME=scaling
[ARGS='TOKENS DOCUMENTS SEED...']
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recording import Figure, report

from engrain import pipeline
from engrain.cli.demo import SETTINGS
from engrain.progress import Silent
from engrain.recipe import Recipe, validate
from engrain.testbed import world
from engrain.testbed.replay import write_replay

METHODS = ("separate", "cooldown")
BUDGETS = ("1/8", "1/4", "1/2", 1)
QUESTIONS_PER_DOCUMENT = 6


def main() -> int:
    """Train both series for each seed and compare them."""
    tokens, documents, *seeds = [int(word) for word in sys.argv[1:]] or [100_000, 8, 0]
    figures: list[Figure] = []
    for seed in seeds or [0]:
        with tempfile.TemporaryDirectory(prefix="engrain-scaling-") as scratch:
            figures += _compared(Path(scratch), tokens, documents, seed)
    return report("scaling", figures)


def _compared(scratch: Path, tokens: int, documents: int, seed: int) -> Iterator[Figure]:
    runs = {method: scratch / method for method in METHODS}
    first = runs["separate"]
    built = world.build(seed=seed, split="target", documents=documents)
    asked = world.ask(built, seed=seed, per_document=QUESTIONS_PER_DOCUMENT)
    world.write_folder(built, scratch / "world", asked)
    write_replay(scratch / "world" / "replay.jsonl", seed=seed, texts=4_000)
    pipeline.run(
        _recipe(scratch, "separate", tokens, seed), first, progress=Silent(), until="synthesize"
    )
    shutil.copytree(first, runs["cooldown"])
    spent = {}
    for method, out in runs.items():
        made = pipeline.run(_recipe(scratch, method, tokens, seed), out, progress=Silent())
        arms = json.loads((out / "findings" / "arms.json").read_text())
        for (label, checkpoint), arm in zip(
            made.checkpoints.items(),
            [row for row in arms if row["arm"] == "trained"],
            strict=True,
        ):
            name = f"seed {seed}, {method} at {label}"
            yield Figure(
                name=f"{name}: accuracy",
                value=arm["accuracy"],
                unit="",
                n=arm["n"],
                low=arm["low"],
                high=arm["high"],
            )
            for kind, loss in _last_reading(checkpoint.path).items():
                texts = made.held_back.packed[kind].counts["texts"] if made.held_back else 0
                yield Figure(name=f"{name}: loss on {kind}", value=loss, unit="nats/token", n=texts)
        spent[method] = _spent(out)
        for what, value in spent[method].items():
            yield Figure(
                name=f"seed {seed}, {method}: {what} in all",
                value=value,
                unit=what,
                n=len(made.checkpoints),
            )
    share = spent["cooldown"]["tokens"] / spent["separate"]["tokens"]
    yield Figure(
        name=f"seed {seed}: tokens of cooldown to separate",
        value=share,
        unit="",
        n=1,
        bar=0.67,
        at_most=True,
    )


def _recipe(scratch: Path, method: str, tokens: int, seed: int) -> Recipe:
    demo: dict[str, Any] = {**SETTINGS}
    raw = {
        **demo,
        "seed": seed,
        "synthesis": {**demo["synthesis"], "budget": {"tokens": tokens}},
        "training": {**demo["training"], "schedule": "wsd", "validation": {}},
        "evaluation": {"arms": ["trained"], "form": "short_answer", "max_tokens": 48},
        "scaling": {"budgets": list(BUDGETS), "method": method},
    }
    return validate(raw, source="the benchmark's recipe", folder=scratch)


def _last_reading(checkpoint: Path) -> dict[str, float]:
    lines = (checkpoint / "validation.jsonl").read_text().splitlines()
    loss: dict[str, float] = json.loads(lines[-1])["loss"]
    return loss


def _spent(out: Path) -> dict[str, float]:
    """Tokens trained on and seconds of training; of a shared stretch, once."""
    tokens = seconds = 0.0
    shared: dict[int, float] = {}
    for folder in sorted((out / "checkpoint").iterdir()):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        counts = json.loads((folder / "record.json").read_text())["counts"]
        before = {row["tokens"]: row["seconds"] for row in rows}.get(counts["shared_tokens"], 0.0)
        tokens += rows[-1]["tokens"] - counts["shared_tokens"]
        seconds += rows[-1]["seconds"] - before
        shared[counts["shared_tokens"]] = before
    return {"tokens": tokens + max(shared), "seconds": seconds + shared[max(shared)]}


if __name__ == "__main__":
    raise SystemExit(main())
