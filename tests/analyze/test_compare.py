"""Planted effects come back: the interval covers the true gain, and chance alone gives uniform
p-values."""

from __future__ import annotations

import numpy as np
from scipy import stats

from engrain.analyze.compare import Comparison, compare
from engrain.analyze.scores import Sample, table
from engrain.records import ArmName

DOCUMENTS, PER_DOCUMENT = 30, 6


def _compared(generator: np.random.Generator, gain: float) -> Comparison:
    """`trained` against `base`, better by `gain` in expectation; a document helps one or the other
    by chance."""
    samples = []
    for document in range(DOCUMENTS):
        level = 0.4 + generator.uniform(-0.2, 0.2)
        luck = generator.uniform(-0.15, 0.15)
        for question in range(PER_DOCUMENT):
            chances: dict[ArmName, float] = {
                "base": level - luck / 2,
                "trained": level + gain + luck / 2,
            }
            samples += [
                Sample(
                    arm=arm,
                    budget=1000 if arm == "trained" else 0,
                    question_id=f"q{document}-{question}",
                    kind="",
                    document_id=f"d{document}",
                    parsed="x",
                    correct=bool(generator.random() < chance),
                    evidence_retrieved=None,
                )
                for arm, chance in chances.items()
            ]
    (made,), _ = compare(table(samples), seed=0, resamples=500)
    return made


def test_the_interval_covers_a_planted_gain_as_often_as_it_says() -> None:
    generator = np.random.default_rng(11)
    made = [_compared(generator, gain=0.15) for _ in range(200)]
    covered = sum(comparison.low <= 0.15 <= comparison.high for comparison in made)
    # Binomial(200, 0.95): 181 or more with probability 0.998.
    assert covered >= 181
    assert abs(np.mean([comparison.difference for comparison in made]) - 0.15) < 0.015


def test_without_a_difference_p_values_are_uniform() -> None:
    generator = np.random.default_rng(12)
    p_values = [_compared(generator, gain=0.0).p_value for _ in range(200)]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_the_detectable_difference_is_found_in_four_of_five_repetitions() -> None:
    generator = np.random.default_rng(13)
    detectable = np.mean([_compared(generator, gain=0.1).detectable or 0 for _ in range(20)])
    found = [_compared(generator, gain=float(detectable)).p_value < 0.05 for _ in range(150)]
    assert 0.68 < np.mean(found) < 0.92
