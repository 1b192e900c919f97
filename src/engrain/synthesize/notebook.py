"""Lines of text about many subjects, kept on disk: a long run knows millions of questions.

Knows subjects by any name; knows nothing of what the lines are.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Self


class Notebook:
    """Notes about each subject, in the order in which they came.

    Lives in a file without a name, which the system removes however the process ends. Memory holds
    sixteen bytes a note.
    """

    def __init__(self, folder: Path) -> None:
        """Empty; the file is made in `folder`."""
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._end = 0
        # Start and length of each note's stretch of the file, in turn.
        self._notes: dict[Hashable, array[int]] = {}

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the file."""
        self._file.close()

    def add(self, subject: Hashable, lines: Sequence[str]) -> None:
        """Take one note."""
        content = json.dumps(lines).encode()
        self._file.seek(self._end)
        self._file.write(content)
        self._notes.setdefault(subject, array("Q")).extend((self._end, len(content)))
        self._end += len(content)

    def count(self, subject: Hashable) -> int:
        """How many notes there are about a subject."""
        return len(self._notes.get(subject, ())) // 2

    def about(self, subject: Hashable) -> Iterator[tuple[str, ...]]:
        """The lines of each note about a subject."""
        notes = self._notes.get(subject, array("Q"))
        for start, length in zip(notes[::2], notes[1::2], strict=True):
            self._file.seek(start)
            yield tuple(json.loads(self._file.read(length)))
