"""Rows of jsonl, parquet and csv files, and the reader that makes one document of each row."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engrain.artifacts import Skipped
from engrain.corpus.draft import Draft, Unusable
from engrain.corpus.settings import CorpusSettings
from engrain.corpus.text import decode, stem_title

_CSV_CELL = 2**31 - 1  # Python's own limit of 131,072 characters is shorter than a document.
_PARQUET_BATCH = 256

NumberedRow = tuple[int, Mapping[str, Any] | Unusable]
"""A row's number (for text formats the line, from 1), and the row or why it is none."""


def read_table(path: Path, source: str, settings: CorpusSettings) -> Iterator[Draft | Skipped]:
    """Each row of a table is one document; a row that is none is skipped and named."""
    seen = False
    for number, row in rows(path):
        seen = True
        place = f"{source}#{number}"
        try:
            if isinstance(row, Unusable):
                raise row
            yield _draft(row, place, number, path, source, settings)
        except Unusable as error:
            yield Skipped(source=place, reason=error.reason, detail=error.detail)
    if not seen:
        raise Unusable("empty", "the table has no rows")


def _draft(
    row: Mapping[str, Any],
    place: str,
    number: int,
    path: Path,
    source: str,
    settings: CorpusSettings,
) -> Draft:
    text = row.get(settings.text_field)
    if settings.text_field not in row:
        columns = ", ".join(sorted(row)) or "none"
        raise Unusable(
            "missing_field",
            f"no field {settings.text_field!r} (it has: {columns}); set corpus.text_field",
        )
    if not isinstance(text, str):
        raise Unusable(
            "malformed", f"field {settings.text_field!r} is not text but {type(text).__name__}"
        )
    title, own = row.get(settings.title_field), row.get(settings.id_field)
    name = str(own) if isinstance(own, (str, int)) and str(own).strip() else ""
    return Draft(
        source=place,
        key=f"{source}#{name}" if name else place,
        text=text,
        title=title
        if isinstance(title, str) and title.strip()
        else f"{stem_title(path.stem)} {number}",
        names=(name,) if name else (),
    )


def rows(path: Path) -> Iterator[NumberedRow]:
    """The rows of a table, streamed; a broken row does not end it.

    Raises Unusable where the file is no table at all.
    """
    return ROWS[path.suffix.lower()](path)


def _jsonl(path: Path) -> Iterator[NumberedRow]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _json_row(line)


def _json_row(line: bytes) -> Mapping[str, Any] | Unusable:
    try:
        text, _ = decode(line)
        row = json.loads(text)
    except Unusable as error:
        return error
    except (json.JSONDecodeError, RecursionError) as error:
        return Unusable("malformed", f"the line is not JSON ({error})")
    return (
        row
        if isinstance(row, dict)
        else Unusable("malformed", f"the line is not a JSON object: {str(row)[:40]!r}")
    )


def _parquet(path: Path) -> Iterator[NumberedRow]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise Unusable(
            "unreadable", f"it is not a sound Parquet file ({str(error).splitlines()[0]})"
        ) from None


def _csv(path: Path) -> Iterator[NumberedRow]:
    csv.field_size_limit(_CSV_CELL)
    text, _ = decode(path.read_bytes())
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ","
    )
    try:
        for row in reader:
            if None in row:
                yield (
                    reader.line_num,
                    Unusable("malformed", "the row has more cells than the table has columns"),
                )
            else:
                yield reader.line_num, {name: cell for name, cell in row.items() if cell}
    except csv.Error as error:
        raise Unusable("malformed", f"line {reader.line_num} is not CSV ({error})") from None


ROWS: dict[str, Callable[[Path], Iterator[NumberedRow]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
}
"""The table formats by suffix, for documents and for questions."""
