"""What a recipe would cost, before anything is paid for: requests, tokens, money, training.

Reads the documents and asks no model. Every figure is an estimate, and the assumptions behind it
are part of the plan.
"""

from __future__ import annotations

import json
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engrain.progress import Progress
from engrain.recipe import Recipe
from engrain.store import Artifact
from engrain.synthesize.plan import Estimate, estimate

# An H100's dense bf16 peak is 989 TFLOP/s; well-tuned training of such sizes reaches 40 % of it.
_GPU_FLOPS = 0.4 * 989e12
_TRAINED_ARMS = ("trained", "trained+rag")
_NAMED_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPlan:
    """Training at one budget."""

    share: float
    synthetic_tokens: int
    trained_tokens: int
    """Replay and all epochs included."""
    flops: float | None
    """None where the student's size is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do and cost."""

    documents: int
    skipped: int
    characters: int
    questions: int
    generation: Estimate
    usd_limit: float | None
    """Where `synthesis.budget.usd` stops the generator."""
    budgets: tuple[BudgetPlan, ...]
    parameters: int | None
    evaluation_requests: int
    assumptions: tuple[str, ...]

    @property
    def gpu_hours(self) -> float | None:
        """Of one H100, all budgets together."""
        known = [budget.flops for budget in self.budgets if budget.flops is not None]
        return sum(known) / _GPU_FLOPS / 3600 if known else None


def plan(recipe: Recipe, *, progress: Progress) -> Plan:
    """Estimate a run of the recipe. Raises UserError where its documents cannot be read."""
    # Late: the corpus stage loads the PDF and HTML readers.
    from engrain.corpus.run import corpus

    with tempfile.TemporaryDirectory(prefix="engrain-plan-") as scratch:
        read = corpus(recipe.corpus, recipe.questions, Path(scratch) / "corpus", progress=progress)
        generation = estimate(read, recipe.synthesis, price=recipe.generator.price)
    parameters = _parameters(recipe.student.path)
    return Plan(
        documents=read.counts["documents"],
        skipped=sum(read.counts["skipped_documents"].values()),
        characters=read.counts["characters"],
        questions=read.counts["questions"],
        generation=generation,
        usd_limit=recipe.synthesis.budget.usd,
        budgets=tuple(_budget(recipe, share, parameters) for share in recipe.scaling.budgets),
        parameters=parameters,
        evaluation_requests=_evaluation(recipe, read),
        assumptions=_assumptions(recipe, read, parameters),
    )


def _budget(recipe: Recipe, share: float, parameters: int | None) -> BudgetPlan:
    synthetic = round(recipe.synthesis.budget.tokens * share)
    replay = recipe.mixture.replay
    with_replay = (
        synthetic / (1 - replay.share) if replay is not None and replay.source else synthetic
    )
    trained = round(with_replay * recipe.training.epochs)
    return BudgetPlan(
        share=share,
        synthetic_tokens=synthetic,
        trained_tokens=trained,
        flops=None if parameters is None else 6.0 * parameters * trained,
    )


def _parameters(student: str) -> int | None:
    """From the headers of the checkpoint's files; for a hub name, from the size in the name."""
    files = sorted(Path(student).glob("*.safetensors"))
    if files:
        return sum(_stored_numbers(path) for path in files)
    named = _NAMED_SIZE.search(Path(student).name)
    if named is None:
        return None
    return round(float(named[1]) * (1e9 if named[2].lower() == "b" else 1e6))


def _stored_numbers(path: Path) -> int:
    """Safetensors: eight bytes of length, then a JSON header with every tensor's shape."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            count = 1
            for side in tensor["shape"]:
                count *= side
            total += count
    return total


def _evaluation(recipe: Recipe, read: Artifact) -> int:
    questions = read.counts["questions"] or recipe.held_out.at_most
    arms = recipe.evaluation.arms
    trained = sum(arm in _TRAINED_ARMS for arm in arms)
    readings = len(arms) - trained + trained * len(recipe.scaling.budgets)
    return int(questions) * recipe.evaluation.samples * readings


def _assumptions(recipe: Recipe, read: Artifact, parameters: int | None) -> tuple[str, ...]:
    found = [
        "a token is four characters of English; replies have the lengths that the methods guess",
        "nothing fails or is rejected; the generator counts tokens as the student does",
    ]
    if not read.counts["questions"]:
        found.append(f"no questions: up to {recipe.held_out.at_most} synthetic ones are held out")
    if parameters is None:
        found.append(
            "the student's size is unknown before it is downloaded, so its compute is not estimated"
        )
    else:
        found.append(
            f"the student has {parameters / 1e6:,.1f}M parameters; training takes 6 FLOPs for each "
            "of them and each token, at 40 % of an H100's 989 TFLOP/s"
        )
    return tuple(found)
