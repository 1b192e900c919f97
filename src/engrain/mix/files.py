"""The mixture's files: a pool of tokens while it is made, and `sequences.arrow`, its result.

Knows how tokens lie on disk; knows nothing of shares or order.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from engrain.mix.compose import Item
from engrain.mix.pack import Piece
from engrain.mix.serialize import Tokens
from engrain.progress import Bar

SEQUENCES = "sequences.arrow"
COMPOSITION = "composition.json"
_BATCH_TOKENS = 1 << 20
_POOL_BUFFER = 1 << 20


class Pool:
    """Tokens of many texts in one file, written one after the other and read from anywhere.

    Not through a memory map: the pages of one count as the process's memory.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / ".pool.tmp"
        self._file = open(self._path, "w+b", buffering=_POOL_BUFFER)  # noqa: SIM115 - see __exit__
        self._size = self._readable = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()

    def add(self, tokens: Tokens) -> int:
        """Append one text's tokens; return where they start."""
        start = self._size
        self._file.write(tokens.data)
        self._size += len(tokens)
        return start

    def read(self, start: int, stop: int) -> Tokens:
        """The tokens from `start` to `stop`."""
        tokens = np.empty(stop - start, dtype=np.int32)
        self.read_into(tokens, start)
        return tokens

    def read_into(self, row: Tokens, start: int) -> None:
        """Fill `row` with the tokens from `start` on."""
        if start + len(row) > self._readable:
            self._file.flush()
            self._readable = self._size
        done = os.preadv(self._file.fileno(), [row.data], start * row.itemsize)
        assert done == row.nbytes, f"{done} of {row.nbytes} bytes read from the pool"


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
    padding; `texts`, the ids of the texts in it; `starts`, where each of these begins; `segments`,
    where the stretches begin that may see one another (a stitched document is one); `unlearned`,
    the stretches besides padding that the loss leaves out, as pairs of start and stop.
    """
    numbers = pa.list_(pa.int32())
    schema = pa.schema(
        [
            pa.field("input_ids", pa.list_(pa.int32(), sequence_length), nullable=False),
            pa.field("length", pa.int32(), nullable=False),
            pa.field("texts", pa.list_(pa.string()), nullable=False),
            pa.field("starts", numbers, nullable=False),
            pa.field("segments", numbers, nullable=False),
            pa.field("unlearned", numbers, nullable=False),
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
    texts: list[list[str]] = []
    starts: list[list[int]] = []
    segments: list[list[int]] = []
    unlearned: list[list[int]] = []
    for row, pieces in zip(ids, batch, strict=True):
        for column in (texts, starts, segments, unlearned):
            column.append([])
        place = 0
        for piece in pieces:
            size = piece.length
            pool.read_into(row[place : place + size], piece.item.start + piece.start)
            segments[-1].append(place)
            for part, begin, stop in _stretches(piece, place):
                texts[-1].append(part.id)
                starts[-1].append(begin)
                if stop > begin:
                    unlearned[-1] += (begin, stop)
            place += size
        lengths.append(place)
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), length),
        pa.array(lengths, pa.int32()),
        *(
            pa.array(column, schema.field(name).type)
            for name, column in (
                ("texts", texts),
                ("starts", starts),
                ("segments", segments),
                ("unlearned", unlearned),
            )
        ),
    ]
    return pa.record_batch(columns, schema=schema)


def _stretches(piece: Piece, place: int) -> Iterator[tuple[Item, int, int]]:
    """The texts in a piece that lies at `place`: each, where it begins, where its prompt stops."""
    first, end = piece.item.start + piece.start, piece.item.start + piece.stop
    parts = piece.item.parts or (piece.item,)
    # Stitched documents have thousands of parts, and as many pieces.
    for index in range(bisect_right(parts, first, key=_start) - 1, len(parts)):
        part = parts[index]
        if part.start >= end:
            break
        prompt = min(part.start + part.prompt, end)
        yield part, place + max(part.start - first, 0), place + prompt - first


def _start(item: Item) -> int:
    return item.start
