"""What made a checkpoint: the artifacts of a run, each only where its fingerprint says so.

A run's folder may have moved on since the training: another mixture, other texts, new findings.
What does not belong to this checkpoint is left out, never shown as if it did.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engrain.artifacts import documents_fingerprint, texts_fingerprint
from engrain.pipeline import SYNTHETIC, UNTRAINED
from engrain.runs import checkpoint
from engrain.store import Artifact, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A checkpoint and what led to it; None for what the folder no longer holds."""

    checkpoint: Artifact
    mixture: Artifact | None
    corpus: Artifact | None
    synthetic: Artifact | None
    held_out: Artifact | None
    """Where the recipe brought no questions: the texts that are left, and the questions."""
    attempts: Artifact | None
    """Its own answers."""
    untrained: Artifact | None
    """The answers of the student before its training, to the same questions."""
    findings: Artifact | None
    """Where its own answers are part of them."""

    @property
    def label(self) -> str:
        """The budget's, its folder's name."""
        return self.checkpoint.path.name

    def artifacts(self) -> list[Artifact]:
        """All that are there, in the order in which they were made."""
        every = (
            self.corpus,
            self.synthetic,
            self.held_out,
            self.mixture,
            self.checkpoint,
            self.untrained,
            self.attempts,
            self.findings,
        )
        return [made for made in every if made is not None]


def lineage(run: Path, label: str | None) -> Lineage:
    """The lineage of a run's checkpoint. Raises UserError where there is no such checkpoint."""
    student = checkpoint(run, label)
    mixture = _same(load(run / "mixture" / student.path.name), student.inputs["mixture"])
    held_out, synthetic = _texts(run, mixture)
    attempts = load(run / "attempts" / student.path.name)
    if attempts is not None and attempts.settings["reader"] != student.fingerprint:
        attempts = None
    return Lineage(
        checkpoint=student,
        mixture=mixture,
        corpus=_corpus(run, mixture),
        synthetic=synthetic,
        held_out=held_out,
        attempts=attempts,
        untrained=_untrained(run, student, attempts),
        findings=_findings(run, attempts),
    )


def _same(found: Artifact | None, fingerprint: str) -> Artifact | None:
    return found if found is not None and found.fingerprint == fingerprint else None


def _texts(run: Path, mixture: Artifact | None) -> tuple[Artifact | None, Artifact | None]:
    """The held-out split, where the mixture was made from one, and the synthesis."""
    if mixture is None:
        return None, None
    wanted = mixture.inputs["texts"]
    synthetic, held_out = load(run / SYNTHETIC), load(run / "held_out")
    if held_out is not None and texts_fingerprint(held_out) == wanted:
        return held_out, _same(synthetic, held_out.inputs["synthetic"])
    if synthetic is not None and texts_fingerprint(synthetic) == wanted:
        return None, synthetic
    return None, None


def _corpus(run: Path, mixture: Artifact | None) -> Artifact | None:
    corpus = load(run / "corpus")
    if mixture is None or corpus is None:
        return None
    return corpus if documents_fingerprint(corpus) == mixture.inputs["documents"] else None


def _untrained(run: Path, student: Artifact, attempts: Artifact | None) -> Artifact | None:
    """Of the same student as it was before, asked the same questions."""
    found = load(run / "attempts" / UNTRAINED)
    if found is None or attempts is None:
        return None
    same = found.settings["questions"] == attempts.settings["questions"]
    return found if same and found.settings["reader"] == student.inputs["student"] else None


def _findings(run: Path, attempts: Artifact | None) -> Artifact | None:
    found = load(run / "findings")
    if found is None or attempts is None or attempts.fingerprint not in found.inputs.values():
        return None
    return found
