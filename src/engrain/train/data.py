"""A mixture's sequences as training examples, read through a memory map.

Knows the columns of `sequences.arrow` (written by `mix`): `input_ids`, `length`.
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
"""The label that the loss leaves out: padding."""


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

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Token ids, and the same as labels with the padding left out."""
        chunk = bisect_right(self._starts, index) - 1
        row = self._chunks[chunk][index - self._starts[chunk]]
        ids = torch.from_numpy(row.astype(np.int64))
        labels = ids.clone()
        # By length, not by token: a tokenizer may pad with its end token, which is to be learned.
        labels[self.lengths[index] :] = _IGNORED
        return {"input_ids": ids, "labels": labels}


def tokens_seen(lengths: NDArray[np.int64], batch: int, step: int) -> int:
    """Tokens of the first `step` optimiser steps of `batch` sequences, epoch after epoch."""
    steps_per_epoch = -(-len(lengths) // batch)
    epochs, steps = divmod(step, steps_per_epoch)
    return int(epochs * lengths.sum() + lengths[: steps * batch].sum())
