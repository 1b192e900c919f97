"""Plants an induction circuit in a new model: what reading is built on, there from the first step.

Heads of the first layer attend one, two and three tokens back and write down what they see; the
heads of the second layer attend to where the same three tokens stood before, and copy what followed
(Olsson et al. 2022, arXiv 2209.11895, found such circuits in trained models). Names and values of
the testbed share their parts, so one token alone finds the wrong place. Small models take thousands
of steps to find it by themselves (docs/notebook.md, 2026-11-20). Knows weights, nothing of lessons.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

_CONSTANT = 4.0
"""The marker that every embedding carries in its first coordinate, in standard deviations: what
the heads that look back, which must ignore content, go by."""
_SHARPNESS = 8.0
"""Of these heads' attention."""
_MATCH = 3.0
"""Of the second layer's attention to equal tokens."""
_COPY = 6.0
"""Strength of the copied token in the output, in standard deviations of the embedding."""
_CONTEXT = 3
"""Tokens that must agree before the place that is copied."""
_SLOWEST_FAST = 0.01
"""Radians per token from which on a rotary pair tells neighbours apart."""
_REACH, _TURN = 400, 1.2
"""A pair is slow, fit for matching content, if it turns by less than this over so many tokens."""


@torch.no_grad()
def plant_induction(model: LlamaForCausalLM, seed: int) -> None:
    """Set the first two layers' attention; start every other write to the residual stream at zero.

    Without the zeros, the random first writes drown the embeddings. Raises ValueError for fewer
    than 2 layers or 3 heads.
    """
    config = model.config
    if config.num_hidden_layers < 2 or config.num_attention_heads < _CONTEXT:
        raise ValueError(
            f"an induction circuit needs 2 layers and {_CONTEXT} heads, "
            f"not {config.num_hidden_layers} and {config.num_attention_heads}"
        )
    generator = torch.Generator().manual_seed(seed)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    embedding = model.model.embed_tokens.weight
    deviation = embedding.std().item()
    embedding[:, 0] = _CONSTANT * deviation
    size = config.head_dim or config.hidden_size // config.num_attention_heads
    rank = min(size, (config.hidden_size - 1) // (_CONTEXT + 1))
    basis = _orthonormal((_CONTEXT + 1) * rank, config.hidden_size, generator)
    read, *before = basis.view(_CONTEXT + 1, rank, -1)
    for offset, write in enumerate(before, start=1):
        _looking_back_head(model, offset, read, write, deviation)
    _matching_heads(model, read, before, deviation, generator)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows that leave the first coordinate out."""
    basis = torch.linalg.qr(torch.randn(columns - 1, rows, generator=generator))[0].T
    return torch.cat([torch.zeros(rows, 1), basis], dim=1)


def _frequencies(model: LlamaForCausalLM, size: int) -> list[float]:
    """Radians per token of each rotary pair (i, i + size/2)."""
    theta: Any = (model.config.rope_parameters or {})["rope_theta"]
    return [theta ** (-2 * i / size) for i in range(size // 2)]


def _looking_back_head(
    model: LlamaForCausalLM, offset: int, read: Tensor, write: Tensor, deviation: float
) -> None:
    """A head of layer 0 attends `offset` tokens back: its keys are queries turned by so many."""
    attention, (rank, width) = model.model.layers[0].self_attn, read.shape
    size = attention.head_dim
    constant = _CONSTANT * deviation
    # The marker's value behind the layer's RMS norm.
    level = constant / math.sqrt((deviation**2 * (width - 1) + constant**2) / width)
    rows = slice((offset - 1) * size, offset * size)
    query, key = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
    query.zero_()
    key.zero_()
    for i, angle in enumerate(_frequencies(model, size)):
        if angle < _SLOWEST_FAST:
            break
        query[i, 0] = _SHARPNESS / level
        key[i, 0] = _SHARPNESS * math.cos(offset * angle) / level
        key[i + size // 2, 0] = _SHARPNESS * math.sin(offset * angle) / level
    channels = slice(rows.start, rows.start + rank)
    attention.v_proj.weight[rows] = 0
    attention.v_proj.weight[channels] = read
    # What is written is as long as an embedding.
    attention.o_proj.weight[:, channels] = write.T * deviation * math.sqrt(width / rank)


def _matching_heads(
    model: LlamaForCausalLM,
    read: Tensor,
    before: list[Tensor],
    deviation: float,
    generator: torch.Generator,
) -> None:
    """The heads of layer 1 look for the last tokens among those before, and copy what followed.

    A third of the coordinates compares this token with the one before a place, a third the token
    before this with the one before that, and so on.
    """
    attention = model.model.layers[1].self_attn
    size = attention.head_dim
    frequencies = _frequencies(model, size)
    slow = [i for i, angle in enumerate(frequencies) if angle * _REACH < _TURN]
    attention.q_proj.weight.zero_()
    attention.k_proj.weight.zero_()
    for head in range(model.config.num_attention_heads):
        for turn, (mine, theirs) in enumerate(pairwise([read, *before])):
            pairs = slow[turn :: len(before)][: len(read) // 2]
            rows = [head * size + i for pair in pairs for i in (pair, pair + size // 2)]
            mixing = torch.linalg.qr(torch.randn(len(read), len(rows), generator=generator))[0].T
            attention.q_proj.weight[rows] = _MATCH * mixing @ mine
            attention.k_proj.weight[rows] = _MATCH * mixing @ theirs
    width = model.config.hidden_size
    height = attention.v_proj.weight.shape[0]
    values = torch.linalg.qr(torch.randn(height, width - 1, generator=generator))[0]
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[:, 1:] = values
    attention.o_proj.weight.copy_(attention.v_proj.weight.T * _COPY * deviation)
