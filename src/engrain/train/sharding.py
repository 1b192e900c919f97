"""A student split over the training processes with FSDP2: loaded, saved, resumed and gathered.

transformers shards it while it is loaded, so no process ever holds all of it, and its Trainer
trains it. What Trainer does not do for such a student, its exact resume, is here, on torch's
distributed checkpoints.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.optim import Optimizer
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.distributed.configuration_utils import DistributedConfig

from engrain.errors import UserError
from engrain.train import ranks
from engrain.train.settings import TrainingSettings

_MODEL, _OPTIMIZER = "sharded-model", "sharded-optimizer"
# By name, so that a training may go on with another number of processes.
_BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)


def loading(settings: TrainingSettings, *, bf16: bool) -> dict[str, Any]:
    """What `from_pretrained` is told so that each process loads its share."""
    if settings.sharding == "none" or ranks.count() == 1:
        return {}
    # bf16 for the products; the shares, their gradients' sums and the optimiser stay fp32.
    config = DistributedConfig(fsdp_size=ranks.count(), fsdp_mixed_precision=bf16)
    return {"distributed_config": config}


def check(model: PreTrainedModel, name: str) -> None:
    """Raise UserError where the shares of a tied embedding would come apart.

    torch 2.13 keeps a copy of a shared weight whose rows do not divide evenly, and the head would
    go on with the untrained one.
    """
    untyped: Any = model
    head = untyped.get_output_embeddings()
    tied = isinstance(head, nn.Linear) and head.weight is untyped.get_input_embeddings().weight
    if is_sharded(model) and tied and (rows := head.weight.shape[0]) % ranks.count():
        raise UserError(
            f"student {name!r} has {rows} tokens in an embedding that is its head too, which "
            f"{ranks.count()} processes cannot share evenly with training.sharding fsdp2; "
            "use a number of processes that divides it, or set training.sharding to none"
        )


def check_resume(model: PreTrainedModel, checkpoint: Path) -> None:
    """Raise UserError where the checkpoint was written in the other form."""
    split = (checkpoint / _MODEL).is_dir()
    if split != is_sharded(model):
        how = "fsdp2, on several processes" if split else "none, or on one process"
        raise UserError(
            f"the checkpoint {str(checkpoint)!r} was written with training.sharding {how}; "
            "train so again, or remove it to start anew"
        )


def is_sharded(model: nn.Module | None) -> TypeGuard[nn.Module]:
    """Whether each process holds a share of the model."""
    return bool(getattr(model, "is_distributed_loading_by_transformers", False))


def save_model(model: nn.Module, checkpoint: Path) -> None:
    """Write every process's share of the weights; all must call."""
    save({"model": get_model_state_dict(model)}, checkpoint_id=checkpoint / _MODEL)


def load_model(model: nn.Module, checkpoint: Path) -> None:
    """Read every process's share of the weights; all must call."""
    state = {"model": get_model_state_dict(model)}
    load(state, checkpoint_id=checkpoint / _MODEL)
    set_model_state_dict(model, state["model"])


def save_optimizer(model: nn.Module, optimizer: Optimizer, checkpoint: Path) -> None:
    """Write every process's share of the optimiser's states; all must call."""
    state = get_optimizer_state_dict(model, optimizer, options=_BY_NAME)
    save({"optimizer": state}, checkpoint_id=checkpoint / _OPTIMIZER)


def load_optimizer(model: nn.Module, optimizer: Optimizer, checkpoint: Path) -> None:
    """Read every process's share of the optimiser's states; all must call."""
    state = {"optimizer": get_optimizer_state_dict(model, optimizer, options=_BY_NAME)}
    load(state, checkpoint_id=checkpoint / _OPTIMIZER)
    set_optimizer_state_dict(model, optimizer, state["optimizer"], options=_BY_NAME)


def gathered(model: PreTrainedModel) -> PreTrainedModel | None:
    """The whole model in rank 0's host memory, None elsewhere; all must call."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model, options=options)
    if not ranks.first():
        return None
    config = copy.deepcopy(model.config)
    del config.distributed_config
    with torch.device("meta"):
        whole: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    whole.load_state_dict(weights, strict=False, assign=True)
    whole.tie_weights()
    whole.generation_config = model.generation_config
    assert not any(parameter.is_meta for parameter in whole.parameters())
    assert isinstance(whole, PreTrainedModel)
    return whole
