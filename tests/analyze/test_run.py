"""The stage on attempts on disk: its tables against an independent computation, and what is
missing."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm

from engrain.analyze.run import analyze
from engrain.artifacts import ATTEMPTS
from engrain.errors import UserError
from engrain.progress import Silent
from engrain.records import ArmName, Attempt
from engrain.store import Artifact, run_stage, write_json, write_rows


def _artifact(
    directory: Path,
    stage: str,
    *,
    attempts: Sequence[Attempt] | None = None,
    usage: Mapping[str, Any] | None = None,
    counts: Mapping[str, Any] | None = None,
) -> Artifact:
    def build(folder: Path) -> Mapping[str, Any]:
        if attempts is not None:
            write_rows(folder / ATTEMPTS, Attempt, attempts)
        if usage is not None:
            write_json(folder / "usage.json", usage)
        return counts or {}

    return run_stage(
        directory,
        stage=stage,
        settings={"of": directory.name},
        inputs={},
        build=build,
        say=Silent().say,
    )


def _attempt(arm: ArmName, question: int, correct: bool, **fields: Any) -> Attempt:
    values = {
        "budget": 1000 if arm.startswith("trained") else 0,
        "kind": "direct",
        "document_id": f"d{question // 5}",
        "sample": 0,
        "parsed": "x",
    } | fields
    return Attempt(
        arm=arm,
        question_id=f"q{question}",
        prompt="p",
        reply="r",
        gold="g",
        correct=correct,
        **values,
    )


def _findings(tmp_path: Path, attempts: Sequence[Attempt]) -> dict[str, Any]:
    synthetic = _artifact(tmp_path / "synthetic", "synthesize")
    made = _artifact(tmp_path / "attempts", "evaluate", attempts=attempts)
    findings = analyze([made], synthetic, [], tmp_path / "findings", progress=Silent())
    return {
        path.stem: json.loads(path.read_text())
        for path in findings.path.glob("*.json")
        if path.name != "record.json"
    }


def _simulated(seed: int) -> list[Attempt]:
    """Five arms, two budgets, 40 documents of 5 questions of two kinds, 3 samples, some
    unparsed."""
    generator = np.random.default_rng(seed)
    ability: dict[tuple[ArmName, int], float] = {
        ("base", 0): 0.1,
        ("rag", 0): 0.5,
        ("oracle", 0): 0.8,
        ("trained", 500): 0.3,
        ("trained", 1000): 0.5,
        ("trained+rag", 500): 0.6,
        ("trained+rag", 1000): 0.7,
    }
    attempts = []
    for question in range(200):
        hard = generator.normal(0, 0.1)
        retrieved = bool(generator.random() < 0.7)
        for (arm, budget), mean in ability.items():
            for sample in range(3):
                parsed = None if generator.random() < 0.05 else "x"
                right = bool(parsed) and bool(generator.random() < mean + hard)
                attempts.append(
                    _attempt(
                        arm,
                        question,
                        right,
                        budget=budget,
                        sample=sample,
                        parsed=parsed,
                        kind="direct" if question % 3 else "two-hop",
                        evidence_retrieved=retrieved if "rag" in arm else None,
                    )
                )
    return [attempts[index] for index in generator.permutation(len(attempts))]


def test_the_tables_agree_with_an_independent_computation(tmp_path: Path) -> None:
    attempts = _simulated(seed=1)
    found = _findings(tmp_path, attempts)
    cells: dict[tuple[str, int], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        cells[attempt.arm, attempt.budget].append(attempt)
    assert [(row["arm"], row["budget"]) for row in found["arms"]] == [
        ("base", 0),
        ("rag", 0),
        ("trained", 500),
        ("trained", 1000),
        ("trained+rag", 500),
        ("trained+rag", 1000),
        ("oracle", 0),
    ]
    for row in found["arms"]:
        cell = cells[row["arm"], row["budget"]]
        # Every question has three samples, so the mean over questions is the mean over attempts.
        assert row["n"] == 200
        assert row["documents"] == 40
        assert row["attempts"] == len(cell) == 600
        assert row["accuracy"] == pytest.approx(np.mean([a.correct for a in cell]))
        assert row["unparsed"] == pytest.approx(np.mean([a.parsed is None for a in cell]))
        assert row["low"] < row["accuracy"] < row["high"]
        if "rag" in row["arm"]:
            hits = [a for a in cell if a.evidence_retrieved]
            assert row["retrieval_recall"] == pytest.approx(len(hits) / len(cell))
            assert row["retrieval_n"] == 200
            assert row["reading_accuracy"] == pytest.approx(np.mean([a.correct for a in hits]))
            assert row["reading_n"] == len(hits) / 3
        else:
            assert row["retrieval_recall"] is None
            assert row["reading_accuracy"] is None
    for row in found["by_kind"]:
        cell = [a for a in cells[row["arm"], row["budget"]] if a.kind == row["kind"]]
        assert row["n"] == len(cell) / 3
        assert row["accuracy"] == pytest.approx(np.mean([a.correct for a in cell]))
    assert len(found["by_kind"]) == 14


def test_the_comparisons_agree_with_a_clustered_regression(tmp_path: Path) -> None:
    attempts = _simulated(seed=2)
    found = _findings(tmp_path, attempts)
    sums: dict[tuple[str, int, int], float] = defaultdict(float)
    for attempt in attempts:
        sums[attempt.arm, attempt.budget, int(attempt.question_id[1:])] += attempt.correct / 3
    assert len(found["comparisons"]) == 6
    for row in found["comparisons"]:
        change = np.array(
            [
                sums[row["a"], row["a_budget"], question]
                - sums[row["b"], row["b_budget"], question]
                for question in range(200)
            ]
        )
        fit = sm.OLS(change, np.ones(200)).fit(
            cov_type="cluster", cov_kwds={"groups": np.arange(200) // 5}, use_t=True
        )
        low, high = fit.conf_int()[0]
        assert row["difference"] == pytest.approx(fit.params[0])
        assert row["low"] == pytest.approx(low, abs=0.02)
        assert row["high"] == pytest.approx(high, abs=0.02)
        assert (row["wins"], row["losses"]) == ((change > 1e-9).sum(), (change < -1e-9).sum())
        assert (row["p_value"] < 0.01) == (fit.pvalues[0] < 0.01)
    ranked = sorted(row["p_value"] for row in found["comparisons"])
    smallest = min(found["comparisons"], key=lambda row: row["p_value"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 6 * ranked[0]))
    assert all(row["p_holm"] >= row["p_value"] for row in found["comparisons"])


def test_points_hold_the_growth_curve_of_the_table(tmp_path: Path) -> None:
    found = _findings(tmp_path, _simulated(seed=3))
    with open(tmp_path / "findings" / "points.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], int(row["budget"]), float(row["accuracy"])) for row in rows] == [
        (row["arm"], row["budget"], row["accuracy"]) for row in found["arms"]
    ]


def test_comparisons_are_made_at_the_largest_budget_that_both_arms_have(tmp_path: Path) -> None:
    cells: list[tuple[ArmName, int]] = [
        ("trained", 500),
        ("trained", 1000),
        ("trained+rag", 500),
        ("rag", 0),
    ]
    attempts = [
        _attempt(arm, question, question % 2 == 0, budget=budget)
        for arm, budget in cells
        for question in range(20)
    ]
    found = _findings(tmp_path, attempts)
    at = {(row["a"], row["b"]): (row["a_budget"], row["b_budget"]) for row in found["comparisons"]}
    assert at == {
        ("trained", "rag"): (1000, 0),
        ("trained+rag", "rag"): (500, 0),
        ("trained+rag", "trained"): (500, 500),
    }


def test_missing_arms_are_named_and_nothing_is_made_up(tmp_path: Path) -> None:
    found = _findings(tmp_path, [_attempt("base", question, False) for question in range(10)])
    assert found["comparisons"] == []
    assert found["verdict"]["not_compared"][0] == {
        "a": "trained",
        "b": "base",
        "reason": "no attempts of trained",
    }
    assert found["verdict"]["budget"] is None
    assert found["verdict"]["sentence"] == (
        "Nothing can be said about which arm is better: only the untrained student was measured."
    )
    assert found["arms"][0]["accuracy"] == 0.0
    assert found["arms"][0]["high"] > 0


def test_arms_without_questions_in_common_are_not_compared(tmp_path: Path) -> None:
    attempts = [_attempt("base", question, False) for question in range(10)]
    attempts += [_attempt("trained", question, True) for question in range(10, 20)]
    found = _findings(tmp_path, attempts)
    assert found["comparisons"] == []
    assert found["verdict"]["not_compared"][0]["reason"] == "no questions in common"
    assert "no two arms" in found["verdict"]["sentence"]


def test_a_comparison_uses_only_the_questions_that_both_arms_answered(tmp_path: Path) -> None:
    attempts = [_attempt("rag", question, question < 10) for question in range(40)]
    attempts += [_attempt("oracle", question, True) for question in range(20)]
    (row,) = _findings(tmp_path, attempts)["comparisons"]
    assert (row["n"], row["documents"]) == (20, 4)
    assert (row["a_accuracy"], row["b_accuracy"]) == (1.0, 0.5)


def test_questions_about_one_document_give_a_result_that_says_so(tmp_path: Path) -> None:
    attempts = [_attempt("base", q, False, document_id="d") for q in range(30)]
    attempts += [_attempt("trained", q, q < 25, document_id="d") for q in range(30)]
    found = _findings(tmp_path, attempts)
    assert found["comparisons"][0]["documents"] == 1
    assert "30 questions about 1 document," in found["verdict"]["sentence"]
    assert any("one document" in note for note in found["verdict"]["notes"])


def test_synthetic_questions_are_called_so_in_the_verdict(tmp_path: Path) -> None:
    attempts = [_attempt("base", q, False, kind="synthetic") for q in range(30)]
    attempts += [_attempt("trained", q, True, kind="synthetic") for q in range(30)]
    verdict = _findings(tmp_path, attempts)["verdict"]
    assert verdict["synthetic_questions"] is True
    assert "held-out synthetic questions" in verdict["sentence"]
    assert any("generator" in note for note in verdict["notes"])


def test_questions_without_kinds_have_no_table_by_kind(tmp_path: Path) -> None:
    assert (
        _findings(tmp_path, [_attempt("base", q, True, kind="") for q in range(9)])["by_kind"] == []
    )


def test_costs_are_those_of_the_artifacts(tmp_path: Path) -> None:
    synthetic = _artifact(tmp_path / "synthetic", "synthesize", usage={"requests": 7, "usd": None})
    mixture = _artifact(tmp_path / "mixture" / "0.5", "mix", counts={"synthetic_tokens": 1000})
    attempts = [_attempt("base", 0, True), _attempt("base", 9, False)]
    made = _artifact(
        tmp_path / "attempts" / "untrained", "evaluate", attempts=attempts, counts={"attempts": 2}
    )
    out = analyze([made], synthetic, [mixture], tmp_path / "findings", progress=Silent())
    assert json.loads((out.path / "cost.json").read_text()) == {
        "generation": {"requests": 7, "usd": None},
        "mixtures": [{"label": "0.5", "synthetic_tokens": 1000}],
        "evaluations": [{"label": "untrained", "attempts": 2}],
    }


def test_no_attempts_at_all_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no question was answered in .*attempts"):
        _findings(tmp_path, [])
