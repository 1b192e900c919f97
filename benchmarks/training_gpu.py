"""Tokens a second, MFU and peak memory of training on one GPU, for models of real shapes.

Random weights of the shapes of Llama-3.2-1B, Qwen3-1.7B and Llama-3.1-8B, sequences of 2,048
tokens, bf16 products on fp32 weights: the stage `train` itself, each case in a process of its own,
stopped after a few steps so that nothing is saved.

FLOPs of a token, forward and backward: 6 for each weight of a matrix product (the head among them,
the embedding that is only looked up not), and for attention 12 for each layer, each number of a
head's outputs and each token that may be seen. Of T tokens a causal model sees (T + 1) / 2 on
average, which is what `MFU` counts here and what is held to the bar; `MFU, all T` counts T as PaLM
(arXiv 2204.02311, appendix B) does, for comparison with published figures. What gradient
checkpointing computes twice counts once. The peak is the data sheet's (train/throughput.py): of an
H200 989e12 dense bf16 FLOPs a second.

Usage: make bench NAME=training_gpu [ARGS='--shape llama-1b --case compile --profile']
Without a GPU, to see that it runs: ARGS='--shape tiny --device cpu' (writes no figures)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packed import mixture
from recording import Figure, report, show
from scipy.stats import quantile_test
from transformers import AutoConfig, AutoModelForCausalLM

from engrain.errors import UserError
from engrain.models import load_tokenizer
from engrain.progress import Bar, Silent
from engrain.testbed import student as shipped
from engrain.train.loop import METRICS, rows
from engrain.train.run import train
from engrain.train.settings import TrainingSettings
from engrain.train.throughput import named_peak

LENGTH, BATCH = 2048, 16
STEPS, COLD = 24, 4
"""Optimiser steps of 32K tokens; of them at first not counted: they compile and warm up."""

_LLAMA = {"model_type": "llama", "rms_norm_eps": 1e-5, "max_position_embeddings": 131072}
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        **_LLAMA,
        "vocab_size": 4096,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "llama-1b": {
        **_LLAMA,
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "qwen3-1.7b": {
        "model_type": "qwen3",
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 40960,
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "llama-8b": {
        **_LLAMA,
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "tie_word_embeddings": False,
    },
}


@dataclass(frozen=True, slots=True)
class Case:
    """One way to train a shape."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


_CHUNKS, _AGAIN = {"loss_in_chunks": True}, {"gradient_checkpointing": True}
SMALL = (
    Case("default"),
    Case("compile", {"compile": True}),
    Case("chunked-loss", _CHUNKS),
    Case("compile+chunked-loss", {"compile": True, **_CHUNKS}),
    Case("liger", {"liger": True}),
    Case("checkpointing", _AGAIN),
    Case("checkpointing+chunked-loss", {**_AGAIN, **_CHUNKS}),
)
# fp32 weights and gradients of 8B numbers take 64 GB, AdamW's fp32 states 64 GB more.
_LARGE = {**_AGAIN, **_CHUNKS}
LARGE = (
    Case("adamw_8bit", {"optimizer": "adamw_8bit", **_LARGE}),
    Case("adamw_8bit+compile", {"optimizer": "adamw_8bit", "compile": True, **_LARGE}),
    Case("adamw_8bit, micro-batch 2", {"optimizer": "adamw_8bit", "micro_batch": 2, **_CHUNKS}),
    Case("offloaded adamw", {"offload_optimizer": True, **_LARGE}),
    Case("adafactor", {"optimizer": "adafactor", **_LARGE}),
)
CASES = {"tiny": SMALL, "llama-1b": SMALL, "qwen3-1.7b": SMALL, "llama-8b": LARGE}
BARS = {"llama-1b": 0.50, "qwen3-1.7b": 0.50, "llama-8b": 0.45}


class StopError(Exception):
    """Enough steps were measured."""


class Stopping(Silent):
    """A progress that ends the training after `steps`, and may profile two steps in the middle."""

    def __init__(self, steps: int, *, profile: bool) -> None:
        """Nothing done yet."""
        self._left, self._profiled = steps, steps // 2 if profile else -1
        self._profiler: Any = None

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Count steps."""
        yield self

    def advance(self, amount: int = 1, *, note: str = "") -> None:
        """A step is done, if there is a note."""
        if not note:
            return
        self._left -= 1
        if self._left == self._profiled:
            self._profiler = torch.profiler.profile()
            self._profiler.start()
        elif self._left == self._profiled - 2:
            self._profiler.stop()
            averages = self._profiler.key_averages()
            by = "cuda_time_total" if torch.cuda.is_available() else "cpu_time_total"
            print(averages.table(sort_by=by, row_limit=25), file=sys.stderr)
        if self._left <= 0:
            raise StopError


def main() -> int:
    """Measure every case of every shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--case", action="append", help="a case's name; none: all of the shape")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--profile", action="store_true", help="print what two steps spend")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        return child(**json.loads(given.child))
    if given.device == "cuda" and not torch.cuda.is_available():
        print("training_gpu: there is no CUDA GPU here, so nothing is measured", file=sys.stderr)
        return 2
    if given.device == "cpu" and given.shape != ["tiny"]:
        print("training_gpu: on a CPU only --shape tiny is quick enough", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    for shape in given.shape or [name for name in SHAPES if name != "tiny"]:
        wanted = [case for case in CASES[shape] if not given.case or case.name in given.case]
        figures += of_shape(shape, wanted, given)
    if given.device == "cpu":
        show(figures)
        print("on a CPU: figures are not kept")
        return 0
    whole = not (given.shape or given.case)
    part = "" if whole else "-" + "-".join([*(given.shape or []), *(given.case or [])])
    return report("training_gpu", figures, part=part.replace(" ", "_"))


def of_shape(shape: str, cases: list[Case], given: argparse.Namespace) -> list[Figure]:
    """The figures of the cases, and the best MFU among them against the bar."""
    figures: list[Figure] = []
    shares: list[tuple[float, Figure]] = []
    with tempfile.TemporaryDirectory(prefix="engrain-gpu-") as scratch:
        asked: dict[str, Any] = {
            "shape": shape,
            "scratch": scratch,
            "device": given.device,
            "steps": given.steps,
        }
        started(asked | {"make": True})
        for case in cases:
            print(f"{shape}, {case.name} ...", file=sys.stderr, flush=True)
            found = started(asked | {"settings": case.settings, "profile": given.profile})
            found_figures = of_case(f"{shape}, {case.name}", found)
            figures += found_figures
            if found_figures[1].value is not None:
                shares.append((found_figures[1].value, found_figures[1]))
    if shape in BARS:
        best = max(shares, key=lambda pair: pair[0])[1] if shares else None
        figures.append(
            Figure(
                name=f"{shape}, best MFU",
                value=best.value if best else None,
                unit="of peak",
                n=best.n if best else 0,
                low=best.low if best else None,
                high=best.high if best else None,
                bar=BARS[shape],
            )
        )
    return figures


def of_case(name: str, found: dict[str, Any]) -> list[Figure]:
    """Speed, MFU counted in both ways, and memory of one case; values are None where it failed."""
    speeds = found.get("speeds", [])
    if "reason" in found:
        print(f"{name}: {found['reason']}", file=sys.stderr)
    n = len(speeds)
    if n < 2:
        units = {"speed": "tokens/s", "MFU": "of peak", "MFU, all T": "of peak", "memory": "GB"}
        return [
            Figure(name=f"{name}, {what}", value=None, unit=unit, n=n)
            for what, unit in units.items()
        ]
    middle = float(np.median(speeds))
    # By ranks; with fewer than six steps there is none.
    test: Any = quantile_test
    interval = test(speeds, p=0.5).confidence_interval() if n > 5 else None
    low, high = (float(interval.low), float(interval.high)) if interval else (None, None)

    def share(what: str, flops: float) -> Figure:
        per = flops / found["peak"] if found["peak"] else None
        return Figure(
            name=f"{name}, {what}",
            value=None if per is None else middle * per,
            unit="of peak",
            n=n,
            low=None if per is None or low is None else low * per,
            high=None if per is None or high is None else high * per,
        )

    return [
        Figure(name=f"{name}, speed", value=middle, unit="tokens/s", n=n, low=low, high=high),
        share("MFU", found["flops"]),
        share("MFU, all T", found["flops_all"]),
        Figure(name=f"{name}, peak memory", value=found["memory"], unit="GB", n=n),
    ]


def started(asked: dict[str, Any]) -> dict[str, Any]:
    """One case in a process of its own, so that the next finds an empty GPU."""
    command = [sys.executable, __file__, "--child", json.dumps(asked)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"reason": f"its process ended with exit code {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(
    shape: str,
    scratch: str,
    device: str,
    steps: int,
    *,
    make: bool = False,
    settings: dict[str, Any] | None = None,
    profile: bool = False,
) -> int:
    """Make a shape's student and mixture, or measure one case; print what was found."""
    folder = Path(scratch)
    if make:
        made(shape, folder / "student", device)
        print("{}")
        return 0
    length = 256 if device == "cpu" else LENGTH
    chosen = TrainingSettings(
        batch_sequences=BATCH,
        sequence_length=length,
        epochs=1,
        precision="auto" if device == "cpu" else "bf16",
        report_to=(),
        processes=1,
        **(settings or {}),
    )
    vocabulary: int = SHAPES[shape]["vocab_size"]
    # More than are trained on: the last step is not reached, so nothing is saved.
    draw = np.random.default_rng(0)
    ids = draw.integers(0, vocabulary, ((steps + 4) * BATCH, length), dtype=np.int32)
    student = str(folder / "student")
    packed = mixture(ids, student, folder / "mixture")
    out = folder / f"checkpoint-{time.time_ns()}"
    progress = Stopping(steps, profile=profile)
    found: dict[str, Any] = {}
    try:
        train(packed, student, chosen, out, seed=0, progress=progress)
    except StopError:
        read = rows(out / METRICS)[min(COLD, steps // 2) :]
        found = {"speeds": [row["tokens_per_second"] for row in read], **counted(shape, length)}
        found["memory"] = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None
    except UserError as error:
        found = {"reason": str(error)}
    print(json.dumps(found))
    return 0


def counted(shape: str, length: int) -> dict[str, Any]:
    """FLOPs of a token counted in both ways, and the device's peak."""
    config = AutoConfig.for_model(**SHAPES[shape])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    weights = sum(parameter.numel() for parameter in model.parameters())
    if not config.tie_word_embeddings:
        weights -= model.get_input_embeddings().weight.numel()
    width = config.num_attention_heads * config.head_dim
    attention = 12.0 * config.num_hidden_layers * width
    return {
        "flops": 6.0 * weights + attention * (length + 1) / 2,
        "flops_all": 6.0 * weights + attention * length,
        "peak": named_peak(torch.cuda.get_device_name()).flops
        if torch.cuda.is_available()
        else None,
    }


def made(shape: str, folder: Path, device: str) -> None:
    """Random weights of the shape in bf16, with the shipped student's tokenizer."""
    config = AutoConfig.for_model(**SHAPES[shape])
    config.dtype = torch.bfloat16
    # On the GPU, where drawing 8B numbers takes seconds.
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.bfloat16
        )
    model.save_pretrained(folder)
    load_tokenizer(str(shipped.path())).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
