"""What replies have told about each window, kept on disk: a long run knows millions of questions.

Knows windows by their number; knows nothing of methods or of what is asked next.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from engrain.synthesize.base import Known


class Notebook:
    """Questions and lists of every window, in the order in which they came.

    Lives in a file without a name, which the system removes however the process ends. Requests
    about one window are planned together, so one window's notes are in memory at a time.
    """

    def __init__(self, folder: Path, windows: int) -> None:
        """Empty, for so many windows; the file is made in `folder`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._end = self._told = 0
        # Start and length of each stretch of the file, in turn.
        self._questions = [array("Q") for _ in range(windows)]
        self._lists = [array("Q") for _ in range(windows)]
        self._last: tuple[int, Known] | None = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the file."""
        self._file.close()

    def __getitem__(self, window: int) -> Known:
        """What is known about a window: its lists, and its questions up to the last `tell`."""
        if self._last is None or self._last[0] != window:
            questions = self._read(self._questions[window], before=self._told)
            known = Known(
                questions=tuple(dict.fromkeys(line for lines in questions for line in lines)),
                lists=tuple(map(tuple, self._read(self._lists[window], before=self._end))),
            )
            self._last = window, known
        return self._last[1]

    def lists(self, window: int) -> int:
        """How many lists are known about a window."""
        return len(self._lists[window]) // 2

    def add_list(self, window: int, lines: Sequence[str]) -> None:
        """Take a list."""
        self._lists[window].extend(self._write(lines))
        self._last = None

    def add_questions(self, window: int, questions: Sequence[str]) -> None:
        """Take questions; they are known from the next `tell` on."""
        if not questions:
            return
        start, length = self._write(questions)
        stretches = self._questions[window]
        if stretches and stretches[-2] + stretches[-1] == start != self._told:
            stretches[-1] += length
        else:
            stretches.extend((start, length))

    def tell(self) -> None:
        """Make the questions known that came so far: a method sees none come while it works."""
        self._told, self._last = self._end, None

    def _write(self, lines: Sequence[str]) -> tuple[int, int]:
        content = (json.dumps(lines) + "\n").encode()
        start = self._end
        self._file.seek(start)
        self._file.write(content)
        self._end += len(content)
        return start, len(content)

    def _read(self, stretches: array[int], *, before: int) -> list[list[str]]:
        found = []
        for start, length in zip(stretches[::2], stretches[1::2], strict=True):
            if start < before:
                self._file.seek(start)
                found += [json.loads(line) for line in self._file.read(length).splitlines()]
        return found
