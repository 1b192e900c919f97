"""How long work tells the user that it goes on: the interface, and a silent one.

The terminal's implementation is `cli/display.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One running count."""

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """Add `amount` done units; `note` (say `12K tokens/s`) replaces the last one."""


class Progress(Protocol):
    """Where a stage reports: lines, and bars."""

    def say(self, line: str) -> None:
        """Show one line."""

    def bar(self, label: str, total: int, unit: str) -> AbstractContextManager[Bar]:
        """A bar of `total` units, closed when the block ends."""


class _SilentBar:
    def advance(self, amount: int = 1, *, note: str = "") -> None:
        pass


class Silent:
    """Says nothing."""

    def say(self, line: str) -> None:
        """Drop the line."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """A bar that shows nothing."""
        yield _SilentBar()
