"""Plants an induction circuit in a new model: what reading is built on, there from the first step.

A head of the first layer attends to the previous token and writes part of it down; the heads of the
second layer attend to where the previous token was this token, and copy what stands there (Olsson
et al. 2022, arXiv 2209.11895, found this circuit in trained models). Small models take thousands of
steps to find it by themselves (docs/notebook.md, 2026-11-20). Knows weights, nothing of lessons.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

_CONSTANT = 4.0
"""The marker that every embedding carries in its first coordinate, in standard deviations: what
the previous-token head, which must ignore content, goes by."""
_SHARPNESS = 8.0
"""Of the previous-token head's attention."""
_MATCH = 3.0
"""Of the second layer's attention to equal tokens."""
_COPY = 6.0
"""Strength of the copied token in the output, in standard deviations of the embedding."""
_FAST_PAIRS = 5
"""Rotary pairs that turn fast enough to tell neighbours apart."""
_REACH, _TURN = 400, 1.2
"""A pair is slow, fit for matching content, if it turns by less than this over so many tokens."""


@torch.no_grad()
def plant_induction(model: LlamaForCausalLM, seed: int) -> None:
    """Set the first two layers' attention; start every other write to the residual stream at zero.

    Without the zeros, the random first writes drown the embeddings. Raises ValueError for fewer
    than 2 layers.
    """
    config = model.config
    if config.num_hidden_layers < 2:
        raise ValueError(f"an induction circuit needs 2 layers, not {config.num_hidden_layers}")
    generator = torch.Generator().manual_seed(seed)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    embedding = model.model.embed_tokens.weight
    deviation = embedding.std().item()
    embedding[:, 0] = _CONSTANT * deviation
    size = config.hidden_size // config.num_attention_heads
    read = _orthonormal(size, config.hidden_size, generator)
    write = _orthonormal(size, config.hidden_size, generator)
    _previous_token_head(model, read, write, deviation)
    _matching_heads(model, read, write, deviation, generator)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows that leave the first coordinate out."""
    basis = torch.linalg.qr(torch.randn(columns - 1, rows, generator=generator))[0].T
    return torch.cat([torch.zeros(rows, 1), basis], dim=1)


def _frequencies(model: LlamaForCausalLM, size: int) -> list[float]:
    """Radians per token of each rotary pair (i, i + size/2)."""
    theta: Any = (model.config.rope_parameters or {})["rope_theta"]
    return [theta ** (-2 * i / size) for i in range(size // 2)]


def _previous_token_head(
    model: LlamaForCausalLM, read: Tensor, write: Tensor, deviation: float
) -> None:
    """Head 0 of layer 0 attends to the previous token: its keys are queries turned by one token."""
    attention, size = model.model.layers[0].self_attn, read.shape[0]
    width = model.config.hidden_size
    constant = _CONSTANT * deviation
    # The marker's value behind the layer's RMS norm.
    level = constant / math.sqrt((deviation**2 * (width - 1) + constant**2) / width)
    attention.q_proj.weight[:size] = 0
    attention.k_proj.weight[:size] = 0
    for i, angle in enumerate(_frequencies(model, size)[:_FAST_PAIRS]):
        attention.q_proj.weight[i, 0] = _SHARPNESS / level
        attention.k_proj.weight[i, 0] = _SHARPNESS * math.cos(angle) / level
        attention.k_proj.weight[i + size // 2, 0] = _SHARPNESS * math.sin(angle) / level
    attention.v_proj.weight[:size] = read
    # What is written is as long as an embedding.
    attention.o_proj.weight[:, :size] = write.T * deviation * math.sqrt(width / size)


def _matching_heads(
    model: LlamaForCausalLM,
    read: Tensor,
    write: Tensor,
    deviation: float,
    generator: torch.Generator,
) -> None:
    """The heads of layer 1 query for this token among the tokens before, and copy what follows."""
    attention, size = model.model.layers[1].self_attn, read.shape[0]
    frequencies = _frequencies(model, size)
    slow = [i for i, angle in enumerate(frequencies) if angle * _REACH < _TURN]
    coordinates = slow + [i + size // 2 for i in slow]
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    for head in range(model.config.num_attention_heads):
        mixing = torch.linalg.qr(torch.randn(size, len(coordinates), generator=generator))[0].T
        rows = [head * size + coordinate for coordinate in coordinates]
        attention.q_proj.weight[rows] = _MATCH * mixing @ read
        attention.k_proj.weight[rows] = _MATCH * mixing @ write
    width = model.config.hidden_size
    values = torch.linalg.qr(torch.randn(width, width - 1, generator=generator))[0]
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[:, 1:] = values
    attention.o_proj.weight.copy_(attention.v_proj.weight.T * _COPY * deviation)
