"""transformers' Trainer with Engrain's manners: metrics, progress, sealed checkpoints, early alarm.

Knows nothing of mixtures or students; `run` puts the parts together.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from safetensors import SafetensorError
from torch import nn
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from engrain import models
from engrain.errors import UserError
from engrain.progress import Bar
from engrain.train import checkpoints

METRICS = "metrics.jsonl"


class SealingTrainer(Trainer):
    """Trainer whose checkpoints are whole or not there, and which prints nothing."""

    def __init__(self, *, identity: str, **arguments: Any) -> None:
        """Take Trainer's arguments, and the `identity` of the training for its seals."""
        super().__init__(**arguments)
        self._identity = identity
        self.remove_callback(PrinterCallback)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        checkpoint = Path(self.args.output_dir or "") / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            checkpoints.seal(checkpoint, self._identity)
        # torch reports a full disk as a RuntimeError.
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(checkpoint, ignore_errors=True)
            raise UserError(
                f"cannot write the checkpoint {str(checkpoint)!r} ({models.first_line(error)}); "
                "free some space and run again: training goes on from the checkpoint before"
            ) from error


class Watch(TrainerCallback):
    """Writes metrics, advances the bar, asks for checkpoints, and stops at a loss that is lost."""

    def __init__(
        self,
        metrics: Path,
        bar: Bar,
        *,
        save_every: float,
        tokens_at: Callable[[int], int],
    ) -> None:
        """Watch one training.

        Args:
            metrics: The file that receives a line for each step.
            bar: Counts tokens.
            save_every: Minutes between checkpoints.
            tokens_at: Tokens that were trained on up to a step.
        """
        self._path, self._bar = metrics, bar
        self._save_every, self._tokens_at = save_every * 60, tokens_at
        self._file: TextIO | None = None
        self._before = 0.0
        self._tokens = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Go on after the last step that the checkpoint has."""
        done = _rows_until(self._path, state.global_step)
        self._file = open(self._path, "w", encoding="utf-8")  # noqa: SIM115 - open for the training
        self._file.writelines(json.dumps(row) + "\n" for row in done)
        self._before = float(done[-1]["seconds"]) if done else 0.0
        self._tokens = self._tokens_at(state.global_step)
        self._bar.advance(self._tokens)
        self._started = self._stepped = self._saved = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """One step is done: Trainer logs each."""
        if logs is None or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} at step {state.global_step} of {state.max_steps} "
                f"(learning rate {logs['learning_rate']:.3g}); lower training.learning_rate, "
                "or set training.precision to fp32"
            )
        now, tokens = time.monotonic(), self._tokens_at(state.global_step)
        speed = (tokens - self._tokens) / max(now - self._stepped, 1e-9)
        row = {
            "step": state.global_step,
            "loss": loss,
            "learning_rate": logs["learning_rate"],
            "gradient_norm": logs["grad_norm"],
            "tokens": tokens,
            "tokens_per_second": round(speed, 1),
            "seconds": round(self._before + now - self._started, 3),
        }
        assert self._file is not None
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self._bar.advance(tokens - self._tokens, note=f"loss {loss:.3f}, {speed:,.0f} tokens/s")
        self._tokens, self._stepped = tokens, now
        # The lines above are the history; in the state it would grow every checkpoint.
        state.log_history.clear()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint when its time has come, but not at the end."""
        now = time.monotonic()
        if now - self._saved >= self._save_every and state.global_step < state.max_steps:
            control.should_save = True
            self._saved = now

    def close(self) -> None:
        """End the metrics file."""
        if self._file is not None:
            self._file.close()


def _rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    """The metrics of the steps up to `step`; later ones were not in the checkpoint."""
    if step == 0 or not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the line at which the process was killed
    return [row for row in rows if row["step"] <= step]
