"""Limits a minute, with a clock of the test's own."""

from __future__ import annotations

import random

import pytest

from engrain.backends.limits import Allowance


def times(allowance: Allowance, amounts: list[int]) -> list[tuple[float, int]]:
    """When each amount is taken by someone who always wants more."""
    now, found = 1000.0, []
    for amount in amounts:
        while (at := allowance.opens_at(amount, now)) > now:
            now = at
        allowance.take(amount, now)
        found.append((now, amount))
    return found


def most_within(seconds: float, taken: list[tuple[float, int]]) -> int:
    """The largest sum in any stretch of that length; its end does not belong to it."""
    first, inside, most = 0, 0, 0
    for at, amount in taken:
        inside += amount
        while taken[first][0] <= at - seconds:
            inside -= taken[first][1]
            first += 1
        most = max(most, inside)
    return most


@pytest.mark.parametrize("limit", [1, 2, 10, 60, 3000])
def test_no_minute_has_more_requests_than_the_limit_and_none_is_wasted(limit):
    taken = times(Allowance(limit), [1] * (4 * limit))
    assert most_within(60, taken) <= limit
    assert taken[-1][0] - taken[0][0] <= 4 * 60


def test_no_minute_has_more_tokens_than_the_limit_whatever_the_sizes():
    sizes = random.Random(3).choices([5, 300, 2000, 8000], k=300)
    taken = times(Allowance(10_000), sizes)
    assert most_within(60, taken) <= 10_000
    assert sum(sizes) / (taken[-1][0] - taken[0][0]) > 0.6 * 10_000 / 60


def test_requests_are_spread_over_the_minute_with_a_short_burst():
    taken = times(Allowance(600), [1] * 600)
    assert most_within(1, taken) <= 21


def test_a_request_larger_than_the_limit_goes_alone():
    first, large, last = times(Allowance(100), [50, 300, 50])
    assert large[0] >= first[0] + 60
    assert last[0] >= large[0] + 60


def test_what_was_reserved_too_much_is_given_back():
    allowance = Allowance(1000)
    entry = allowance.take(1000, 0.0)
    assert allowance.opens_at(500, 1.0) >= 60.0
    allowance.settle(entry, 10)
    assert allowance.opens_at(500, 1.0) <= 1.0


def test_what_was_reserved_too_little_is_made_up_for():
    allowance = Allowance(1000)
    entry = allowance.take(10, 0.0)
    allowance.settle(entry, 900)
    assert allowance.opens_at(500, 10.0) >= 60.0


def test_an_estimate_corrected_after_its_minute_leaves_the_sum_right():
    allowance = Allowance(1000)
    entry = allowance.take(100, 0.0)
    assert allowance.opens_at(1, 100.0) <= 100.0
    allowance.settle(entry, 900)
    allowance.take(900, 200.0)
    allowance.take(100, 250.0)
    assert allowance.opens_at(500, 260.0) <= 260.0
