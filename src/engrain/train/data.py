"""A mixture's sequences as training examples, read through a memory map.

Knows the columns of `sequences.arrow` (written by `mix`): `input_ids`, `length`, and `segments`,
where the stretches begin that may see one another (`starts`, the texts, where there is none).
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

SEQUENCES = "sequences.arrow"
_IGNORED = -100
"""The label that the loss leaves out: padding."""


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """The packed sequences, in the order of the mixture."""

    def __init__(self, folder: Path, *, within_texts: bool = False) -> None:
        """Open the mixture in `folder`; `within_texts`: positions start anew in each segment.

        From such positions transformers' models see where a segment ends, and look no further back.
        """
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
        self._segments: _Lists | None = None
        if within_texts:
            name = "segments" if "segments" in table.column_names else "starts"
            self._segments = _Lists(table[name])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Token ids, and the same as labels with the padding left out.

        Where attention stays within texts, also `position_ids`, and no label for the first token
        of a segment: nothing that it could be told from is seen.
        """
        chunk = bisect_right(self._starts, index) - 1
        row = self._chunks[chunk][index - self._starts[chunk]]
        ids = torch.from_numpy(row.astype(np.int64))
        labels = ids.clone()
        # By length, not by token: a tokenizer may pad with its end token, which is to be learned.
        labels[self.lengths[index] :] = _IGNORED
        if self._segments is None:
            return {"input_ids": ids, "labels": labels}
        starts = self._segments[index]
        labels[starts] = _IGNORED
        return {"input_ids": ids, "labels": labels, "position_ids": _positions(starts, len(ids))}

    def attended(self) -> float:
        """The mean number of tokens that a token sees, itself among them."""
        runs = self.lengths if self._segments is None else self._segments.runs(self.lengths)
        return float((runs * (runs + 1)).sum() / 2 / runs.sum())


class _Lists:
    """A column of lists of numbers, as one array and its offsets."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        lists = [column.chunk(number) for number in range(column.num_chunks)]
        self._values = np.concatenate([part.flatten().to_numpy() for part in lists])
        sizes = np.concatenate([part.value_lengths().to_numpy() for part in lists])
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])

    def runs(self, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        """From each number to the next one of its list, and from the last to the list's end."""
        nexts = np.append(self._values[1:], 0).astype(np.int64)
        nexts[self._offsets[1:] - 1] = ends
        found: NDArray[np.int64] = nexts - self._values
        return found

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        part: NDArray[np.int64] = self._values[self._offsets[index] : self._offsets[index + 1]]
        return part.astype(np.int64)


def _positions(starts: NDArray[np.int64], length: int) -> torch.Tensor:
    """0, 1, 2, ... from every start; padding goes on in the last segment, where nobody sees it."""
    sizes = np.diff(starts, append=length)
    return torch.from_numpy(np.arange(length) - np.repeat(starts, sizes))


def stacked(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """A micro-batch with a row for each sequence."""
    batch: dict[str, torch.Tensor] = default_collate(examples)
    return batch


def flattened(examples: list[dict[str, torch.Tensor]]) -> dict[str, Any]:
    """A micro-batch as one row of segments, with the bounds that FlashAttention reads.

    transformers takes them from the positions only where a batch has one row, and would let the
    segments of several rows see one another.
    """
    row = {name: torch.cat([example[name] for example in examples]) for name in examples[0]}
    starts = (row["position_ids"] == 0).nonzero().flatten()
    bounds = torch.cat([starts, torch.tensor([len(row["input_ids"])])]).to(torch.int32)
    longest = int(bounds.diff().max())
    return {
        **{name: values.unsqueeze(0) for name, values in row.items()},
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def tokens_seen(lengths: NDArray[np.int64], batch: int, step: int) -> int:
    """Tokens of the first `step` optimiser steps of `batch` sequences, epoch after epoch."""
    steps_per_epoch = -(-len(lengths) // batch)
    epochs, steps = divmod(step, steps_per_epoch)
    return int(epochs * lengths.sum() + lengths[: steps * batch].sum())
