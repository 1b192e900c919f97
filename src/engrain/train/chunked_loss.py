"""The loss computed some rows at a time: the logits of a large vocabulary never stand all at once.

With 8K tokens and a vocabulary of 128K, logits and their gradient take 8 GB. Here a chunk's are
computed, made into its loss and forgotten, and computed again for the gradient: one product with
the head more, no kernel of its own, so it runs on every device.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from engrain.errors import UserError

_ROWS = 1024


def chunk_loss(model: PreTrainedModel, name: str) -> None:
    """Let the model compute its loss in chunks whenever it is given labels.

    Raises UserError where the model does more with its logits than to compare them with labels.
    """
    whole: Callable[..., Any] = model.forward

    def forward(
        self: Any, *, labels: Tensor | None = None, **inputs: Any
    ) -> CausalLMOutputWithPast:
        if labels is None:
            output: CausalLMOutputWithPast = whole(**inputs)
            return output
        items = inputs.pop("num_items_in_batch", None)
        hidden = self.get_decoder()(**inputs).last_hidden_state[:, :-1].flatten(0, 1)
        targets = labels[:, 1:].flatten()
        total = summed_loss(hidden, self.get_output_embeddings(), targets)
        return CausalLMOutputWithPast(
            loss=total / ((targets != -100).sum() if items is None else items)
        )

    ids = torch.arange(16)[None]
    with torch.no_grad():
        expected = whole(input_ids=ids, labels=ids, use_cache=False).loss
        found = forward(model, input_ids=ids, labels=ids, use_cache=False).loss
    if found is None or not torch.allclose(expected, found, rtol=1e-3):
        raise UserError(
            f"student {name!r} cannot compute its loss in chunks: its architecture "
            f"({model.config.model_type}) does more with the logits; "
            "set training.loss_in_chunks to false"
        )
    model.forward = types.MethodType(forward, model)


def summed_loss(hidden: Tensor, head: nn.Module, targets: Tensor, rows: int = _ROWS) -> Tensor:
    """The sum of the losses of rows before the head; targets of -100 are left out."""

    def of_chunk(inputs: Tensor, wanted: Tensor) -> Tensor:
        return functional.cross_entropy(head(inputs).float(), wanted, reduction="sum")

    chunks = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    parts = [checkpoint(of_chunk, inputs, wanted, use_reentrant=False) for inputs, wanted in chunks]
    return torch.stack(parts).sum()
