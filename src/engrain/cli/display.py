"""The terminal's `Progress`: bars with done/total, rate and time left; plain lines when piped.

Writes to stderr, so that what a verb prints on stdout (a table, a schema) can be piped on. Knows
nothing of stages: they see `engrain.progress.Progress` only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from engrain.progress import Bar
from engrain.report.formats import duration, quantity

# A line every ten seconds says that work goes on without filling a log file.
_PLAIN_SECONDS = 10.0


def _rate(done: float, seconds: float) -> str:
    return quantity(done / seconds) if seconds > 0 and done > 0 else "-"


def terminal(stream: TextIO | None = None) -> PlainLines | LiveBars:
    """The display that suits the stream: live bars on a terminal, plain lines elsewhere."""
    stream = stream or sys.stderr
    console = Console(file=stream, highlight=False)
    return LiveBars(console) if console.is_terminal else PlainLines(stream)


class PlainLines:
    """Progress for pipes and log files: a line in ten seconds at most, and one at the end."""

    def __init__(self, stream: TextIO, *, every: float = _PLAIN_SECONDS) -> None:
        """Write to `stream`, at most one line in `every` seconds for a running bar."""
        self._stream = stream
        self._every = every

    def say(self, line: str) -> None:
        """Write one line."""
        self._stream.write(line + "\n")
        self._stream.flush()

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Count `total` units in lines."""
        running = _PlainBar(self, label, total, unit, every=self._every)
        yield running
        self.say(_summary(label, running.done, total, unit, running.seconds, running.note))


class _PlainBar:
    def __init__(
        self, lines: PlainLines, label: str, total: int, unit: str, *, every: float
    ) -> None:
        self.done = 0
        self.note = ""
        self._lines, self._label, self._total, self._unit = lines, label, total, unit
        self._every = every
        self._started = self._spoke = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self._spoke < self._every:
            return
        self._spoke = now
        left = (self._total - self.done) * self.seconds / self.done if self.done else 0.0
        parts = [
            f"{self._label}: {quantity(self.done)}/{quantity(self._total)} {self._unit}",
            f"{_rate(self.done, self.seconds)}/s",
            f"{duration(max(left, 0.0))} left",
        ]
        self._lines.say(", ".join([*parts, self.note] if self.note else parts))


def _summary(label: str, done: int, total: int, unit: str, seconds: float, note: str) -> str:
    of = "" if done == total else f" of {quantity(total)}"
    line = f"{label}: {quantity(done)}{of} {unit} in {duration(seconds)}"
    return f"{line}, {note}" if note else line


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{_rate(task.completed, task.elapsed or 0.0)}/s", style="cyan")


class _CountColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{quantity(task.completed)}/{quantity(task.total or 0)} {unit}")


class LiveBars:
    """Progress for a terminal; nested bars stack, and a finished bar leaves one line."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`."""
        self._console = console
        self._live: Progress | None = None
        self._open = 0

    def say(self, line: str) -> None:
        """Show one line above the bars."""
        # Not markup: a document's title may hold square brackets.
        self._console.print(line, markup=False, highlight=False)

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Draw a bar of `total` units."""
        live = self._start()
        task = live.add_task(label, total=total, unit=unit, note="")
        running = _LiveBar(live, task)
        started = time.monotonic()
        finished = False
        try:
            yield running
            finished = True
        finally:
            live.remove_task(task)
            self._stop(live)
        if finished:
            seconds = time.monotonic() - started
            self.say(_summary(label, running.done, total, unit, seconds, running.note))

    def _start(self) -> Progress:
        if self._live is None:
            self._live = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                _CountColumn(),
                _RateColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}", markup=False),
                console=self._console,
                transient=True,
                # Four a second look alive and cost nothing beside the work.
                refresh_per_second=4,
            )
            self._live.start()
        self._open += 1
        return self._live

    def _stop(self, live: Progress) -> None:
        self._open -= 1
        if self._open == 0:
            live.stop()
            self._live = None


class _LiveBar:
    def __init__(self, live: Progress, task: TaskID) -> None:
        self.done = 0
        self.note = ""
        self._live, self._task = live, task

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        self._live.update(self._task, advance=amount, note=self.note)
