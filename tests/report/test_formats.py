"""How numbers are written."""

from __future__ import annotations

import pytest

from engrain.report import formats


def test_what_was_not_measured_is_a_dash_and_never_a_number():
    for write in (
        formats.percent,
        formats.points,
        formats.p_value,
        formats.count,
        formats.quantity,
        formats.money,
        formats.duration,
    ):
        assert write(None) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(0.1234, "+12.3"), (-0.1, "\N{MINUS SIGN}10.0"), (0.0, "0.0"), (-0.0004, "0.0")],
)
def test_a_difference_that_rounds_to_nothing_has_no_sign(difference: float, shown: str):
    assert formats.points(difference) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.25, "0.2"),
        (950, "950"),
        (12_340, "12.3K"),
        (999_499, "999K"),
        (999_999, "1M"),
        (2.5e9, "2.5B"),
    ],
)
def test_quantities_change_their_unit_where_they_round_up_to_it(value: float, shown: str):
    assert formats.quantity(value) == shown


def test_a_p_value_is_never_shown_as_zero():
    assert formats.p_value(0.00005) == "<0.001"
    assert formats.p_value(0.001) == "0.001"
    assert formats.p_value(1.0) == "1.000"


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "$0.00"), (0.0042, "$0.0042"), (12.5, "$12.50"), (1234.4, "$1,234")]
)
def test_money_keeps_the_digits_that_matter(amount: float, shown: str):
    assert formats.money(amount) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (7500, "2 h 05 min")],
)
def test_times_never_show_sixty_of_a_unit(seconds: float, shown: str):
    assert formats.duration(seconds) == shown
