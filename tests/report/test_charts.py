"""The geometry of the growth chart."""

from __future__ import annotations

import itertools

import pytest

from engrain.records import ArmName
from engrain.report.charts import Measured, growth


def measured(arm: ArmName, budget: int, accuracy: float, spread: float = 0.05) -> Measured:
    low, high = max(0.0, accuracy - spread), min(1.0, accuracy + spread)
    return Measured(arm=arm, budget=budget, accuracy=accuracy, low=low, high=high)


def test_equal_factors_of_tokens_are_equal_steps_to_the_right():
    chart = growth([measured("trained", budget, 0.5) for budget in (1000, 4000, 16_000)])
    assert chart is not None
    first, second, third = (mark.x for mark in chart.lines[0].marks)
    assert second - first == pytest.approx(third - second)


def test_a_better_accuracy_stands_higher_and_every_interval_is_inside_the_plot():
    chart = growth(
        [
            measured("base", 0, 0.02),
            measured("rag", 0, 0.61),
            measured("trained", 1000, 0.3),
            measured("trained", 2000, 0.97),
        ]
    )
    assert chart is not None
    low, high = chart.lines[0].marks
    assert high.y < low.y
    tops = [mark.top for mark in (low, high)] + [flat.top for flat in chart.flats]
    bottoms = [mark.bottom for mark in (low, high)] + [flat.bottom for flat in chart.flats]
    assert min(tops) >= 0
    assert max(bottoms) <= 100


def test_the_axis_reads_what_the_points_say():
    chart = growth([measured("trained", 1000, 0.4, 0.0), measured("trained", 2000, 0.6, 0.0)])
    assert chart is not None
    labelled = {label: y for y, label in chart.y_ticks}
    assert labelled["40%"] == pytest.approx(chart.lines[0].marks[0].y)
    assert labelled["60%"] == pytest.approx(chart.lines[0].marks[1].y)


def test_one_budget_is_no_growth():
    assert growth([measured("base", 0, 0.1), measured("trained", 1000, 0.4)]) is None


def test_labels_of_many_budgets_do_not_touch_and_keep_the_largest():
    budgets = [1000 * 2**step for step in range(20)]
    chart = growth([measured("trained", budget, 0.5) for budget in budgets])
    assert chart is not None
    places = [x for x, _ in chart.x_ticks]
    assert min(b - a for a, b in itertools.pairwise(places)) >= 13
    assert chart.x_ticks[-1][1] == "524M"
