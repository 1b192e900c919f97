"""What training processes agree on: the data of each, and when a checkpoint is written."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engrain.train import ranks

_IGNORED = -100


class Even(Dataset[dict[str, torch.Tensor]]):
    """Sequences, and after the last as many without labels as make the processes' shares even.

    Trainer would fill up with sequences of the beginning, which would be learned twice.
    """

    def __init__(self, sequences: Dataset[dict[str, torch.Tensor]], length: int, of: int) -> None:
        """Fill up the `length` sequences to a multiple of `of`."""
        self._sequences, self._length = sequences, length
        self._padded = -(-length // of) * of

    def __len__(self) -> int:
        return self._padded

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """A sequence; nothing is learned from those that fill up."""
        example = self._sequences[min(index, self._length - 1)]
        if index < self._length:
            return example
        return {**example, "labels": torch.full_like(example["labels"], _IGNORED)}


class SaveTogether(TrainerCallback):
    """Lets rank 0, which has the clock, say when all write a checkpoint."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take over what rank 0 wants."""
        wanted = torch.tensor(int(control.should_save), device=args.device)
        distributed.broadcast(wanted, src=0)
        control.should_save = bool(wanted.item())


def wait_for_all() -> None:
    """Wait until every process is here."""
    if ranks.count() > 1:
        distributed.barrier()


def missed_another(error: BaseException) -> bool:
    """Whether an error only says that another process is gone, whose own error is the reason."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
