"""What makes a corpus: where the files are, how tables are read, which questions belong to it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from engrain.settings import Settings, execution

Format = Literal["files", "quality", "financebench"]


class CorpusSettings(Settings):
    """Where documents come from and how they are read."""

    paths: tuple[Path, ...] = execution(min_length=1)
    """Folders (walked recursively) and files. Their contents are the corpus's identity, not their
    location."""
    format: Format = "files"
    """`files`: any mix of readable files; else a benchmark in its own format, which brings its
    questions."""
    text_field: str = "text"
    """The column of a table (jsonl, parquet, csv) that holds a document; one row is one
    document."""
    title_field: str = "title"
    """The column that holds its title; a row without one is named after its file and row."""
    id_field: str = "id"
    """The column that names a row: ids then survive a reordering of the table."""
    min_characters: int = Field(default=20, ge=1)
    """A shorter document is skipped as `too_short`: it states no fact and would cost a request."""


class QuestionSettings(Settings):
    """Evaluation questions: they never reach a generator or a training text."""

    path: Path = execution()
    """A file of questions (jsonl, parquet or csv), one a row."""
