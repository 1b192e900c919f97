"""Too little memory, in one sentence: before training where that is certain."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from engrain.errors import UserError
from engrain.train.settings import TrainingSettings

_STATES = {"adamw": 8, "adamw_8bit": 2, "adafactor": 0, "muon": 4}
"""Bytes of optimiser states for each trained number, rounded down."""
WHAT_TO_DO = (
    "use training.lora, training.optimizer adafactor or adamw_8bit, a smaller student, "
    "or more devices"
)


def check(config: PretrainedConfig, name: str, settings: TrainingSettings) -> None:
    """Raise UserError where weights, gradients and states alone are more than there is.

    Before the weights are loaded: a host without memory kills the process without a word.
    """
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except ValueError:
        return  # loading says what is wrong with it
    parameters = model.num_parameters()
    weights, states = 4, 0 if settings.lora else _STATES[settings.optimizer]
    gradients = 0 if settings.lora else 4
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not torch.cuda.is_available():
        _compare(name, parameters, weights + gradients + states, host, "this machine")
        return
    offloaded = states if settings.offload_optimizer else 0
    gpu = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    _compare(name, parameters, weights + gradients + states - offloaded, gpu, "the GPU")
    _compare(name, parameters, max(weights, offloaded), host, "this machine")


def _compare(name: str, parameters: int, each: int, there: int, where: str) -> None:
    # Processes that share the work may share the weights too.
    needed = parameters * each / int(os.environ.get("WORLD_SIZE", "1"))
    if needed > there:
        raise UserError(
            f"student {name!r} needs at least {needed / 1e9:,.0f} GB to be trained ({each} bytes "
            f"for each of {parameters / 1e9:.2f}B numbers), and {where} has {there / 1e9:,.0f} GB; "
            + WHAT_TO_DO
        )


@contextmanager
def explained(where: str, advice: str) -> Iterator[None]:
    """Turn the many ways in which memory runs out into one sentence."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_little(where, advice) from error
    except RuntimeError as error:
        # On the host, torch's allocator and safetensors' map have no error of their own.
        if "DefaultCPUAllocator" not in str(error) and "Cannot allocate memory" not in str(error):
            raise
        raise _too_little(where, advice) from error


def advice(settings: TrainingSettings, micro_batch: int) -> str:
    """The advice where a step, or the optimiser's states, did not fit."""
    first = []
    if micro_batch > 1:
        first.append(f"lower training.micro_batch (it is {micro_batch})")
    if not settings.gradient_checkpointing:
        first.append("set training.gradient_checkpointing to true")
    if not settings.loss_in_chunks and not settings.liger:
        first.append("set training.loss_in_chunks to true")
    return "; or ".join([*first, WHAT_TO_DO])


def _too_little(where: str, advice: str) -> UserError:
    return UserError(f"too little memory {where}; {advice}")
