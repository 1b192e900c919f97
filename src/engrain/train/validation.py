"""Held-back texts read while training goes on: `validation.jsonl`, a line for each reading.

Reading draws nothing and changes no weight, so a training with it ends bit for bit like one
without. Knows packed sequences and Trainer; which texts they hold is chosen in `held_back`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from engrain import store
from engrain.train.data import Sequences
from engrain.train.loop import rows_until
from engrain.train.throughput import Meter

VALIDATION = "validation.jsonl"

Collator = Callable[[list[dict[str, torch.Tensor]]], dict[str, Any]]


class Validation(TrainerCallback):
    """Reads before the first step, every so many steps, and at the end."""

    def __init__(
        self,
        path: Path,
        sets: Mapping[str, Sequences],
        *,
        every: int,
        end: int | None,
        collate: Collator,
        meter: Meter,
    ) -> None:
        """Prepare the readings of one training.

        Args:
            path: The file.
            sets: What is read, by its name.
            every: Steps between readings.
            end: A step at which there is one too.
            collate: Sequences to a micro-batch.
            meter: Its tokens are the lines'; the time of readings is kept out of it.
        """
        self._path, self._sets, self._collate = path, sets, collate
        self._every, self._end, self._meter = every, end, meter
        self._rows: list[dict[str, Any]] = []

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Go on after the checkpoint's step; read, where there is none."""
        self._rows = rows_until(self._path, state.global_step)
        if not self._rows:
            self._read(args, state, model)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Read where it is time."""
        if state.global_step % self._every == 0 or state.global_step == self._end:
            self._read(args, state, model)

    def _read(self, args: TrainingArguments, state: TrainerState, model: nn.Module | None) -> None:
        assert model is not None
        began = time.monotonic()
        losses = {
            name: loss_per_token(model, sequences, self._collate, args.per_device_train_batch_size)
            for name, sequences in self._sets.items()
        }
        seconds = time.monotonic() - began
        self._meter.leave_out(seconds)
        row = {
            "step": state.global_step,
            "tokens": self._meter.tokens_at(state.global_step),
            "loss": losses,
            "seconds": round(seconds, 3),
        }
        self._rows.append(row)
        if state.is_world_process_zero:
            text = "".join(json.dumps(row) + "\n" for row in self._rows)
            store.write_text(self._path, text)


def loss_per_token(
    model: nn.Module, sequences: Sequences, collate: Collator, at_once: int
) -> float:
    """The mean loss of all tokens of the sequences that are to be learned."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        with torch.no_grad():
            for start in range(0, len(sequences), at_once):
                stop = min(start + at_once, len(sequences))
                batch = collate([sequences[index] for index in range(start, stop)])
                learned = int((batch["labels"][:, 1:] != -100).sum())
                moved = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
                total += float(model(**moved).loss) * learned
                count += learned
    finally:
        model.train(training)
    return total / count
