"""How numbers are written for people: on the page, in `report.md`, in figures, on the terminal.

Knows signs and units; it does not know where a number comes from. None is written as a dash, never
as a number.
"""

from __future__ import annotations

ABSENT = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def percent(share: float | None) -> str:
    """A share in [0, 1]: `73.1%`."""
    return ABSENT if share is None else f"{100 * share:.1f}%"


def points(difference: float | None) -> str:
    """A signed difference of two shares, in percentage points: `+12.3`."""
    if difference is None:
        return ABSENT
    size = f"{abs(100 * difference):.1f}"
    if float(size) == 0:
        return size
    return f"{'+' if difference > 0 else _MINUS}{size}"


def size_in_points(share: float | None) -> str:
    """An unsigned size in percentage points: `6.4`."""
    return ABSENT if share is None else f"{100 * share:.1f}"


def p_value(p: float | None) -> str:
    """A p-value with three decimals; below that, the bound."""
    if p is None:
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def count(value: float | None) -> str:
    """A whole number with separators: `1,234,567`."""
    return ABSENT if value is None else f"{value:,.0f}"


def quantity(value: float | None) -> str:
    """A number for an axis or a sentence: `0.2`, `950`, `12.3K`, `4.56M`."""
    if value is None:
        return ABSENT
    if abs(value) < 1000:
        return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.1f}"
    for limit, divisor, suffix in ((1e6, 1e3, "K"), (1e9, 1e6, "M"), (1e12, 1e9, "B")):
        # 999.5 thousand would round to `1e+03K`.
        if abs(value) < 0.9995 * limit:
            return f"{value / divisor:.3g}{suffix}"
    return f"{value / 1e12:.3g}T"


def money(amount: float | None) -> str:
    """US dollars; cents below a hundred, more digits below a cent."""
    if amount is None:
        return ABSENT
    if 0 < amount < 0.01:
        return f"${amount:.2g}"
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


def duration(seconds: float | None) -> str:
    """A time: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None:
        return ABSENT
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plural(number: float, noun: str) -> str:
    """`1 question`, `40 questions`."""
    return f"{number:,.0f} {noun}" if number == 1 else f"{number:,.0f} {noun}s"
