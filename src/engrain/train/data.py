"""A mixture's sequences as training examples, read through a memory map.

Knows the columns of `sequences.arrow` (written by `mix`): `input_ids`, `length`, and `unlearned`,
the stretches that the loss leaves out besides padding.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

SEQUENCES = "sequences.arrow"
_IGNORED = -100
"""The label that the loss leaves out."""


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """The packed sequences, in the order of the mixture."""

    def __init__(self, folder: Path) -> None:
        with pa.memory_map(str(folder / SEQUENCES)) as file:
            table = pa.ipc.open_stream(file).read_all()
        self.lengths: NDArray[np.int64] = table["length"].to_numpy().astype(np.int64)
        """Of each sequence the tokens that are not padding."""
        chunks = table["input_ids"].chunks
        self._chunks = [
            chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1)
            for chunk in chunks
        ]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])[:-1].tolist()
        self._unlearned = _Lists(table["unlearned"])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Token ids, and the same as labels with padding and unlearned stretches left out."""
        chunk = bisect_right(self._starts, index) - 1
        row = self._chunks[chunk][index - self._starts[chunk]]
        ids = torch.from_numpy(row.astype(np.int64))
        labels = ids.clone()
        # By length, not by token: a tokenizer may pad with its end token, which is to be learned.
        labels[self.lengths[index] :] = _IGNORED
        for start, stop in self._unlearned[index].reshape(-1, 2):
            labels[start:stop] = _IGNORED
        return {"input_ids": ids, "labels": labels}


class _Lists:
    """A column of lists of numbers, as one array and its offsets."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = [column.chunk(number) for number in range(column.num_chunks)]
        self._values = np.concatenate([part.flatten().to_numpy() for part in lists])
        sizes = np.concatenate([part.value_lengths().to_numpy() for part in lists])
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        part: NDArray[np.int64] = self._values[self._offsets[index] : self._offsets[index + 1]]
        return part.astype(np.int64)


def tokens_seen(lengths: NDArray[np.int64], batch: int, step: int) -> int:
    """Tokens of the first `step` optimiser steps of `batch` sequences, epoch after epoch."""
    steps_per_epoch = -(-len(lengths) // batch)
    epochs, steps = divmod(step, steps_per_epoch)
    return int(epochs * lengths.sum() + lengths[: steps * batch].sum())
