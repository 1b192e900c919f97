"""A recipe, from documents to the report: the only file that knows the order of the stages.

Builds the generator and the readers, hands every stage its settings, and keeps other processes off
the run's folder. Knows nothing of what a stage computes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engrain.artifacts import (
    DOCUMENTS,
    DOCUMENTS_FINGERPRINT,
    KEPT,
    QUESTIONS,
    TEXTS_FINGERPRINT,
    documents,
    documents_fingerprint,
    fingerprint_texts,
    questions,
    texts,
    texts_in,
)
from engrain.backends.base import Backend
from engrain.backends.settings import GeneratorSettings
from engrain.errors import UserError
from engrain.models import load_tokenizer, model_identity
from engrain.progress import Progress
from engrain.recipe import TESTBED_STUDENT, Recipe, dump
from engrain.records import ARMS, ArmName, Document, Question, SyntheticText
from engrain.store import Artifact, RowWriter, load, locked, run_stage, write_rows, write_text

# Every stage is imported where it runs: torch, transformers, openai and matplotlib take seconds to
# load, and a run that stops earlier need not wait for them.

STAGES = ("corpus", "synthesize", "mix", "train", "evaluate", "analyze", "report")

UNTRAINED = "untrained"
SYNTHETIC = "synthetic"
"""In the run's folder: the artifact of the synthesis, with its ledger."""
RECIPE_FILE = "recipe.yaml"
"""In the run's folder: the recipe it was last run with, every setting spelt out."""
# The reader batches 64 prompts of similar length; from several batches' worth it can choose.
_READER_CONCURRENCY = 256


@dataclass(slots=True, kw_only=True)
class RunResult:
    """The finished artifacts of a run, as far as it went; mappings go by the budgets' labels."""

    folder: Path
    corpus: Artifact
    synthetic: Artifact | None = None
    held_out: Artifact | None = None
    """Without questions of its own: the split that stands in for corpus and synthetic texts."""
    mixtures: dict[str, Artifact] = field(default_factory=dict)
    checkpoints: dict[str, Artifact] = field(default_factory=dict)
    attempts: dict[str, Artifact] = field(default_factory=dict)
    """By label, and `untrained`."""
    findings: Artifact | None = None
    report: Artifact | None = None
    notes: tuple[str, ...] = ()
    """What a reader of the report must know about how it came about."""


def run(recipe: Recipe, out: Path, *, progress: Progress, until: str = "report") -> RunResult:
    """Do every stage up to and including `until` that is not done yet, in the folder `out`.

    An interruption at any point loses no finished stage and no paid reply: the same call goes on.
    Raises UserError where another process is using the folder.
    """
    wanted = STAGES[: STAGES.index(until) + 1]
    with locked(out):
        write_text(out / RECIPE_FILE, dump(recipe))
        return _Run(recipe, out, wanted, progress).all()


class _Run:
    """One run: what it was asked for, and what it has so far."""

    def __init__(
        self, recipe: Recipe, out: Path, wanted: tuple[str, ...], progress: Progress
    ) -> None:
        self.recipe, self.out, self.wanted, self.progress = recipe, out, wanted, progress

    def all(self) -> RunResult:
        result = RunResult(folder=self.out, corpus=self.corpus())
        if "synthesize" not in self.wanted:
            return result
        if "mix" in self.wanted:
            # Before anything is paid for: a wrong name would only show after hours.
            check_student(self.recipe.student.path)
            self.check_mixture()
        result.synthetic = self.synthesize(result.corpus)
        if "mix" not in self.wanted:
            return result
        if not result.corpus.counts["questions"]:
            result.held_out = self.hold_out(result.corpus, result.synthetic)
        if "evaluate" in self.wanted:
            self.evaluate_untrained(result)
        for share in self.recipe.scaling.budgets:
            self.budget(result, share)
        result.notes = notes(self.recipe, result)
        if "analyze" in self.wanted:
            self.conclude(result)
        return result

    def corpus(self) -> Artifact:
        from engrain.corpus.run import corpus

        recipe = self.recipe
        return corpus(recipe.corpus, recipe.questions, self.out / "corpus", progress=self.progress)

    def synthesize(self, corpus: Artifact) -> Artifact:
        from engrain.synthesize.run import synthesize

        settings = self.recipe.generator
        generator = build_generator(
            settings,
            seed=self.recipe.seed,
            folder=self.out / SYNTHETIC,
            say=self.progress.say,
        )
        return synthesize(
            corpus,
            generator,
            self.recipe.synthesis,
            self.out / SYNTHETIC,
            seed=self.recipe.seed,
            concurrency=settings.at_a_time(),
            price=settings.price,
            progress=self.progress,
        )

    def hold_out(self, corpus: Artifact, synthetic: Artifact) -> Artifact:
        settings = {**self.recipe.held_out.identity(), "seed": self.recipe.seed}
        return run_stage(
            self.out / "held_out",
            stage="held_out",
            settings=settings,
            inputs={"corpus": corpus.fingerprint, "synthetic": synthetic.fingerprint},
            build=lambda directory: _split(corpus, synthetic, directory, settings),
            say=self.progress.say,
        )

    def budget(self, result: RunResult, share: float) -> None:
        """Mix, train and evaluate at one budget."""
        label = f"{share:g}"
        result.mixtures[label] = mixture = self.mix(result, share, label)
        if "train" not in self.wanted:
            return
        result.checkpoints[label] = checkpoint = self.train(mixture, label)
        if "evaluate" not in self.wanted:
            return
        arms = self.arms("trained", "trained+rag")
        if arms:
            result.attempts[label] = self.evaluate(
                result,
                arms,
                model=str(checkpoint.path),
                identity=checkpoint.fingerprint,
                label=label,
                budget=mixture.counts["component_tokens"],
            )

    def check_mixture(self) -> None:
        """Raise UserError where texts that the mixture takes from elsewhere are not there."""
        self.other_runs()
        replay = self.recipe.mixture.replay
        # Reading from a dataset of the hub takes seconds: once, before the first reply is paid for.
        if replay is not None and load(self.out / SYNTHETIC) is None:
            from engrain.mix.replay import check

            check(replay)

    def other_runs(self) -> dict[Path, Artifact]:
        """The texts of other runs that the mixture's components name."""
        return {
            part.run: _texts_of(part.run)
            for part in self.recipe.mixture.components
            if part.run is not None
        }

    def mix(self, result: RunResult, share: float, label: str) -> Artifact:
        from engrain.mix.run import Others, mix
        from engrain.synthesize.leak import LeakGuard
        from engrain.synthesize.words import words

        synthetic = result.held_out or result.synthetic
        asked = result.held_out or result.corpus
        assert synthetic is not None
        runs = self.other_runs()
        guard = LeakGuard(questions(asked) if runs else ())
        return mix(
            synthetic,
            asked,
            self.recipe.mixture,
            self.recipe.student.path,
            self.out / "mixture" / label,
            share=share,
            sequence_length=self.recipe.training.sequence_length,
            seed=self.recipe.seed,
            progress=self.progress,
            others=Others(
                runs,
                lambda text: any(guard.find(words(said)) for said in (text.question, text.text)),
            ),
        )

    def train(self, mixture: Artifact, label: str) -> Artifact:
        from engrain.train.run import train

        recipe = self.recipe
        return train(
            mixture,
            recipe.student.path,
            recipe.training,
            self.out / "checkpoint" / label,
            seed=recipe.seed,
            progress=self.progress,
        )

    def evaluate_untrained(self, result: RunResult) -> None:
        arms = self.arms("base", "rag", "oracle")
        if arms:
            student = self.recipe.student.path
            result.attempts[UNTRAINED] = self.evaluate(
                result,
                arms,
                model=student,
                identity=model_identity(student),
                label=UNTRAINED,
                budget=0,
            )

    def evaluate(
        self,
        result: RunResult,
        arms: tuple[ArmName, ...],
        *,
        model: str,
        identity: str,
        label: str,
        budget: int,
    ) -> Artifact:
        from engrain.backends.transformers import TransformersBackend
        from engrain.evaluate.run import evaluate

        reader = TransformersBackend(model=model)
        evaluated = evaluate(
            result.held_out or result.corpus,
            reader,
            arms,
            self.recipe.evaluation,
            self.recipe.retrieval,
            self.out / "attempts" / label,
            reader_identity=identity,
            budget=budget,
            seed=self.recipe.seed,
            concurrency=_READER_CONCURRENCY,
            progress=self.progress,
        )
        # Its memory is needed for the next training.
        asyncio.run(reader.aclose())
        return evaluated

    def arms(self, *names: ArmName) -> tuple[ArmName, ...]:
        return tuple(arm for arm in ARMS if arm in names and arm in self.recipe.evaluation.arms)

    def conclude(self, result: RunResult) -> None:
        """Analyze, and report where that is wanted."""
        from engrain.analyze.run import analyze

        assert result.synthetic is not None
        attempts = list(result.attempts.values())
        mixtures = list(result.mixtures.values())
        result.findings = analyze(
            attempts, result.synthetic, mixtures, self.out / "findings", progress=self.progress
        )
        if "report" not in self.wanted:
            return
        from engrain.report.run import report

        result.report = report(
            result.findings,
            result.held_out or result.corpus,
            result.synthetic,
            mixtures,
            list(result.checkpoints.values()),
            attempts,
            self.out / "report",
            recipe=_published(self.recipe),
            notes=result.notes,
            progress=self.progress,
        )


def _published(recipe: Recipe) -> Mapping[str, Any]:
    """The recipe as the report shows it: what it is, not where it lies."""
    plain = recipe.identity()
    for part in ("student", "generator"):
        model = plain[part]["model"]
        plain[part]["model"] = Path(model).name if Path(model).is_dir() else model
    return plain


def build_generator(
    settings: GeneratorSettings, *, seed: int, folder: Path, say: Callable[[str], None]
) -> Backend:
    """The backend that a recipe's generator names; it connects to nothing before its first request.

    So a finished synthesis needs no endpoint; and an endpoint that would refuse everything
    (unreachable, wrong key, unknown model) refuses the first request, before anything is paid for.

    Args:
        settings: The recipe's.
        seed: Of the testbed's writer.
        folder: Of the ledger; a batch API's backend notes its batches there.
        say: Receives what a user should hear of them.
    """
    if settings.backend == "testbed":
        from engrain.testbed.writer import STRENGTHS, Writer

        return Writer(strength=STRENGTHS[settings.strength], seed=seed)
    if settings.backend == "transformers":
        from engrain.backends.transformers import TransformersBackend

        return TransformersBackend(model=settings.model, name=model_identity(settings.model))
    if settings.backend == "vllm":
        from engrain.backends.vllm import VLLMBackend

        name = model_identity(settings.model)
        return VLLMBackend(model=settings.model, engine=settings.engine, name=name)
    if settings.backend == "ray" and not settings.asks_endpoints():
        from engrain.backends.ray import RayBackend

        return RayBackend(
            model=settings.model,
            replicas=settings.replicas,
            engine=settings.engine,
            name=model_identity(settings.model),
        )
    from engrain.backends.endpoint import Endpoint
    from engrain.backends.pool import Pool

    endpoints = [
        Endpoint(
            endpoint,
            model=settings.model,
            timeout=settings.timeout,
            local_only=settings.local_only,
        )
        for endpoint in settings.served_at()
    ]
    if settings.backend == "ray":
        from engrain.backends.ray import RayBackend

        return RayBackend(model=settings.model, endpoint=endpoints[0], replicas=settings.replicas)
    if settings.backend == "openai-batch":
        from engrain.backends.batch import BatchBackend

        return BatchBackend(endpoints[0], folder, settings.batch, say=say)
    return Pool(endpoints)


def check_student(student: str) -> None:
    """Raise UserError where there is no such student or it has no tokenizer; loads no weights."""
    model_identity(student)
    load_tokenizer(student)


def _texts_of(run: Path) -> Artifact:
    """The synthetic texts of another run: of its folder, or of that of its texts."""
    found = load(run / SYNTHETIC) or load(run)
    if found is None or found.stage not in ("synthesize", "held_out"):
        raise UserError(
            f"the run {str(run)!r} of mixture.components holds no finished synthetic texts; "
            "finish its `engrain synthesize`, or name another folder"
        )
    return found


def _split(
    corpus: Artifact, synthetic: Artifact, directory: Path, settings: Mapping[str, float | int]
) -> Mapping[str, int | str]:
    """Write a corpus with held-out synthetic questions, and the synthetic texts without them."""
    from engrain.evaluate.heldout import held_out

    asked, excluded = held_out(
        lambda: texts(synthetic),
        share=settings["share"],
        at_most=int(settings["at_most"]),
        seed=int(settings["seed"]),
    )
    if not asked:
        raise UserError(
            "the recipe brings no questions, and none can be held out: no document has two "
            "question-answer pairs with short answers; give questions.path, or a larger "
            "synthesis.budget"
        )
    write_rows(directory / DOCUMENTS, Document, documents(corpus))
    write_rows(directory / QUESTIONS, Question, asked)
    left = _write_without(excluded, texts(synthetic), directory / KEPT)
    return {
        "questions": len(asked),
        "texts": left,
        "left_out": len(excluded),
        DOCUMENTS_FINGERPRINT: documents_fingerprint(corpus),
        TEXTS_FINGERPRINT: fingerprint_texts(texts_in(directory)),
    }


def _write_without(excluded: Collection[str], rows: Iterable[SyntheticText], folder: Path) -> int:
    """Write one file for each method, without the texts of these ids; returns how many are left.

    Files of an earlier build are removed: a method's would outlive it, and be trained on.
    """
    for path in folder.glob("*.parquet"):
        path.unlink()
    writers: dict[str, RowWriter[SyntheticText]] = {}
    with ExitStack() as files:
        for text in rows:
            if text.method not in writers:
                writer = RowWriter(folder / f"{text.method}.parquet", SyntheticText)
                writers[text.method] = files.enter_context(writer)
            if text.id not in excluded:
                writers[text.method].append(text)
    return sum(writer.count for writer in writers.values())


def notes(recipe: Recipe, result: RunResult) -> tuple[str, ...]:
    """What a reader of the numbers must know about how they came about."""
    testbed = recipe.generator.backend == "testbed" or recipe.student.model == TESTBED_STUDENT
    return notes_on(testbed=testbed, synthetic=result.synthetic, held_out=result.held_out)


def notes_on(
    *, testbed: bool, synthetic: Artifact | None, held_out: Artifact | None
) -> tuple[str, ...]:
    """The same of the artifacts alone; `testbed`: its writer or its student took part."""
    found = []
    if testbed:
        found.append(
            "This is a controlled experiment on Engrain's testbed (its writer, its small student): "
            "it shows the method at work and is not evidence about large models."
        )
    if held_out is not None:
        counts = held_out.counts
        found.append(
            f"The recipe brought no questions: {counts['questions']} synthetic questions were "
            f"held out, and {counts['left_out']} texts that give their answers away were not "
            "trained on. The generator wrote questions and training texts alike, so the accuracy "
            "says less than on real questions."
        )
    screened = synthetic.counts.get("screened") if synthetic is not None else None
    if screened and screened["left_out"]:
        found.append(
            f"{screened['left_out']} of {screened['documents']} documents were left out of the "
            "synthesis because they hold what looks like secrets or personal data "
            "(synthesis.screen): nothing was taught about them, while retrieval reads all of them."
        )
    return tuple(found)
