"""One score per question: attempts are read, and the samples of a question averaged.

Knows the columns of attempts; knows nothing of intervals or comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow.parquet as pq

from engrain.artifacts import ATTEMPTS
from engrain.records import ARMS, ArmName
from engrain.store import Artifact


class Sample(NamedTuple):
    """The columns of an attempt that are scored; prompts and replies are not read."""

    arm: ArmName
    budget: int
    question_id: str
    kind: str
    document_id: str
    parsed: str | None
    correct: bool
    evidence_retrieved: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One question under one arm at one budget."""

    question_id: str
    kind: str
    document_id: str
    score: float
    """Share of the samples that are right."""
    samples: int
    unparsed: int
    """Samples in which no answer was found."""
    evidence_retrieved: bool | None
    """Whether the context held every gold passage; None where that cannot be said."""


Cell = tuple[ArmName, int]
"""An arm and a budget."""
Table = dict[Cell, list[Score]]


def read_table(attempts: Sequence[Artifact]) -> Table:
    """The scores of all attempts, by arm (in the order of `ARMS`), budget and question."""
    return table(sample for artifact in attempts for sample in _samples(artifact))


def table(samples: Iterable[Sample]) -> Table:
    """The same from samples in any order."""
    cells: dict[Cell, dict[str, list[Sample]]] = {}
    for sample in samples:
        questions = cells.setdefault((sample.arm, sample.budget), {})
        questions.setdefault(sample.question_id, []).append(sample)
    order = sorted(cells, key=lambda cell: (ARMS.index(cell[0]), cell[1]))
    return {cell: [_score(group) for _, group in sorted(cells[cell].items())] for cell in order}


def _score(samples: Sequence[Sample]) -> Score:
    first = samples[0]
    return Score(
        question_id=first.question_id,
        kind=first.kind,
        document_id=first.document_id,
        score=sum(sample.correct for sample in samples) / len(samples),
        samples=len(samples),
        unparsed=sum(sample.parsed is None for sample in samples),
        evidence_retrieved=first.evidence_retrieved,
    )


def _samples(artifact: Artifact) -> Iterator[Sample]:
    names = Sample._fields
    columns = pq.read_table(artifact.path / ATTEMPTS, columns=list(names))
    yield from map(Sample._make, zip(*(columns[name].to_pylist() for name in names), strict=True))
