"""The mixture's files: a pool of tokens while it is made, and `sequences.arrow`, its result.

Knows how tokens lie on disk; knows nothing of shares or order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from engrain.mix.pack import Piece
from engrain.mix.serialize import Tokens
from engrain.progress import Bar

SEQUENCES = "sequences.arrow"
COMPOSITION = "composition.json"
_BATCH_TOKENS = 1 << 20


class Pool:
    """Tokens of many texts in one file, read from anywhere through a map."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".pool.tmp"
        self._file = open(self._path, "wb")  # noqa: SIM115 - closed by __exit__
        self._size = 0
        self._map: Tokens | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._map = None
        self._path.unlink(missing_ok=True)
        self._file.close()

    def add(self, tokens: Tokens) -> int:
        """Append one text's tokens; return where they start."""
        self._map = None  # of what was there; the next read maps all of it
        start = self._size
        self._file.write(tokens.tobytes())
        self._size += len(tokens)
        return start

    def read(self, start: int, stop: int) -> Tokens:
        """The tokens from `start` to `stop`."""
        if self._map is None:
            self._file.flush()
            self._map = np.memmap(self._path, dtype=np.int32, mode="r", shape=(self._size,))
        return self._map[start:stop]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What went into `sequences.arrow`."""

    sequences: int
    padding: int
    """Tokens of padding."""
    cuts: int
    """Places where a text goes on in another sequence."""


def write_sequences(
    path: Path,
    sequences: Iterable[Sequence[Piece]],
    pool: Pool,
    *,
    sequence_length: int,
    pad: int,
    bar: Bar,
) -> Written:
    """Write packed sequences as an Arrow stream, a bounded number at a time.

    Columns: `input_ids`, padded with `pad` to `sequence_length`; `length`, the tokens that are not
    padding; `texts`, the ids of the texts in it; `starts`, where each of these begins.
    """
    schema = pa.schema(
        [
            pa.field("input_ids", pa.list_(pa.int32(), sequence_length), nullable=False),
            pa.field("length", pa.int32(), nullable=False),
            pa.field("texts", pa.list_(pa.string()), nullable=False),
            pa.field("starts", pa.list_(pa.int32()), nullable=False),
        ]
    )
    stream = iter(sequences)
    rows = max(1, _BATCH_TOKENS // sequence_length)
    count = padding = cuts = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        while batch := list(islice(stream, rows)):
            writer.write_batch(_record_batch(batch, pool, schema, sequence_length, pad))
            pieces = [piece for sequence in batch for piece in sequence]
            count += len(batch)
            padding += len(batch) * sequence_length - sum(piece.length for piece in pieces)
            cuts += sum(piece.start > 0 for piece in pieces)
            bar.advance(len(batch))
    return Written(sequences=count, padding=padding, cuts=cuts)


def _record_batch(
    batch: Sequence[Sequence[Piece]], pool: Pool, schema: pa.Schema, length: int, pad: int
) -> pa.RecordBatch:
    ids = np.full((len(batch), length), pad, dtype=np.int32)
    lengths: list[int] = []
    starts: list[list[int]] = []
    texts: list[list[str]] = []
    for row, pieces in zip(ids, batch, strict=True):
        place = 0
        starts.append([])
        texts.append([piece.item.id for piece in pieces])
        for piece in pieces:
            begin = piece.item.start + piece.start
            row[place : place + piece.length] = pool.read(begin, begin + piece.length)
            starts[-1].append(place)
            place += piece.length
        lengths.append(place)
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), length),
        pa.array(lengths, pa.int32()),
        pa.array(texts, schema.field("texts").type),
        pa.array(starts, schema.field("starts").type),
    ]
    return pa.record_batch(columns, schema=schema)
