"""Engrain's training against a bare PyTorch loop: same student, batches, optimiser and precision.

The testbed's shipped student trains with the demo's settings. After every step of the stage
`train` the bare loop does one of its own in the same process, so whatever else the machine does
slows both; the stage's time is from the end of a bare step to the end of its own, with metrics,
progress and TensorBoard. Usage: make bench NAME=training_cpu [ARGS='STEPS']
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from packed import mixture
from recording import Figure, report
from transformers import AutoModelForCausalLM, get_cosine_schedule_with_warmup

from engrain.models import load_tokenizer
from engrain.muon import Muon, grouped
from engrain.progress import Bar, Silent
from engrain.stats import jackknife
from engrain.testbed import student
from engrain.testbed.world import build
from engrain.train.arguments import computes_in_bf16
from engrain.train.run import train
from engrain.train.settings import TrainingSettings

STEPS, COLD, BLOCKS = 220, 20, 20
"""Steps; of them at first not counted; groups of steps, each of which the interval leaves out."""
LENGTH, BATCH, RATE = 512, 2, 2.5e-3
"""recipes/demo.yaml."""


class Interleaved(Silent):
    """A progress that runs `other` after each step, and takes the time of both."""

    def __init__(self, other: Callable[[], float]) -> None:
        """Nothing measured yet."""
        self._other = other
        self.stage: list[float] = []
        self.bare: list[float] = []

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Count steps."""
        yield self
        self._ended = 0.0

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """A step is done, if there is a note."""
        now = time.perf_counter()
        if not note:
            self._ended = now
            return
        self.stage.append(now - self._ended)
        self.bare.append(self._other())
        self._ended = time.perf_counter()


def main() -> int:
    """Measure with the demo's optimiser and with the default one."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else STEPS
    figures = []
    with tempfile.TemporaryDirectory(prefix="engrain-training-") as scratch:
        for optimizer in ("muon", "adamw"):
            settings = TrainingSettings(
                learning_rate=RATE,
                optimizer=optimizer,
                sequence_length=LENGTH,
                batch_sequences=BATCH,
                tokens=steps * BATCH * LENGTH,
            )
            figures += measured(settings, Path(scratch) / optimizer, steps)
    return report("training_cpu", figures)


def measured(settings: TrainingSettings, scratch: Path, steps: int) -> list[Figure]:
    """The speeds, and what the stage's is of the bare loop's."""
    model = str(student.path())
    rows = tokens(model, steps * BATCH)
    packed = mixture(rows, model, scratch / "mixture")
    progress = Interleaved(bare_loop(model, rows, settings, steps))
    train(packed, model, settings, scratch / "checkpoint", seed=0, progress=progress)
    assert len(progress.stage) == steps
    pairs = list(zip(progress.stage, progress.bare, strict=True))[COLD:]
    without = [
        ratio([pair for index, pair in enumerate(pairs) if index * BLOCKS // len(pairs) != block])
        for block in range(BLOCKS)
    ]
    interval = jackknife(ratio(pairs), without)
    per_step = BATCH * LENGTH
    kind, n = f"{settings.optimizer}", len(pairs)
    stage, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    return [
        Figure(
            name=f"{kind}, stage train / bare loop",
            value=ratio(pairs),
            unit="of its speed",
            n=n,
            low=interval.low,
            high=interval.high,
            bar=0.95,
        ),
        Figure(name=f"{kind}, stage train", value=per_step / stage, unit="tokens/s", n=n),
        Figure(name=f"{kind}, bare loop", value=per_step / bare, unit="tokens/s", n=n),
    ]


def ratio(pairs: list[tuple[float, float]]) -> float:
    """The stage's speed as a share of the bare loop's: of the medians over steps."""
    stage, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    return float(bare / stage)


def tokens(model: str, rows: int) -> NDArray[np.int32]:
    """Rows of the target world's documents, over and over."""
    world = build(seed=1, split="target", documents=60)
    text = "\n\n".join(document.text for document in world.documents)
    tokenizer = load_tokenizer(model)
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return np.resize(np.array(ids, dtype=np.int32), (rows, LENGTH))


def bare_loop(
    model: str, rows: NDArray[np.int32], settings: TrainingSettings, steps: int
) -> Callable[[], float]:
    """A function that trains one step and returns its seconds."""
    network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    network.train()
    optimizer: torch.optim.Optimizer
    bf16 = computes_in_bf16(settings)
    if settings.optimizer == "muon":
        optimizer = Muon(
            grouped(network),
            lr=RATE,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            products=torch.bfloat16 if bf16 else torch.float32,
        )
    else:
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=RATE,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    schedule = get_cosine_schedule_with_warmup(optimizer, round(settings.warmup * steps), steps)
    batches = iter(torch.split(torch.from_numpy(rows.astype(np.int64)), BATCH))

    def step() -> float:
        started = time.perf_counter()
        ids = next(batches)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = network(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.max_gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        return time.perf_counter() - started

    return step


if __name__ == "__main__":
    sys.exit(main())
