"""Settings of training: the paper's values by default (METHOD.md section 1.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engrain.settings import Settings, execution


class TrainingSettings(Settings):
    """What is done to the student's weights; the fields marked so only say how fast."""

    learning_rate: float = Field(1e-5, gt=0)
    epochs: int = Field(2, ge=1)
    batch_sequences: int = Field(16, ge=1)
    """Sequences in one optimiser step, on all devices together."""
    sequence_length: int = Field(2048, ge=8)
    optimizer: Literal["adamw", "adafactor", "muon"] = "adamw"
    """`muon`: Muon for the matrices inside the layers, AdamW for the rest, at one learning rate."""
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's, also beside Muon; Adafactor has none."""
    max_gradient_norm: float = Field(1.0, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises from 0."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the matrix products; the weights are fp32 while they are trained. `auto`: bf16 where the
    device computes in it, else fp32."""
    micro_batch: int | None = execution(None, ge=1)
    """Sequences on a device at once, a divisor of `batch_sequences`; none: chosen by the length."""
    gradient_checkpointing: bool = execution(False)
    """Computes activations twice to keep less memory."""
    save_every: float = execution(10.0, ge=0)
    """Minutes between the checkpoints from which an interrupted training goes on."""
    report_to: tuple[str, ...] = execution(())
    """Trackers of transformers that receive the metrics: `tensorboard`, `wandb`, ..."""
