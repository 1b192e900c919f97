"""Muon with AdamW: parity with PyTorch's own two, and which parameters go where."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from engrain.muon import Muon, grouped, orthogonalise


def test_orthogonalising_brings_all_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for found in (orthogonalise(matrices), orthogonalise(matrices.mT.contiguous())):
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.4
        assert values.max() < 1.4


@pytest.mark.parametrize("products", [torch.float32, torch.bfloat16])
def test_updates_are_those_of_pytorch_up_to_its_bf16(products: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(16, 16), (48, 16), (20, 8), (5,)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    ours = [torch.nn.Parameter(t.clone()) for t in start]
    theirs = [torch.nn.Parameter(t.clone()) for t in start]
    mine = Muon(
        [{"params": ours[:2], "muon": True}, {"params": ours[2:], "muon": False, "lr": 0.01}],
        lr=0.02,
        weight_decay=0.1,
        products=products,
    )
    references = [
        torch.optim.Muon(theirs[:2], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(theirs[2:], lr=0.01, weight_decay=0.1),
    ]
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        for optimizer in (mine, *references):
            optimizer.step()
    for a, b, s, tolerance in zip(ours, theirs, start, (0.05, 0.05, 1e-5, 1e-5), strict=True):
        assert (a - b).norm() < tolerance * (b - s).norm()


@pytest.mark.parametrize("tied", [True, False])
def test_tables_and_norms_are_left_to_adamw_and_nothing_is_lost(tied: bool) -> None:
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    model.model.layers[0].mlp.up_proj.weight.requires_grad = False
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    by_muon, by_adamw = ([names[id(p)] for p in group["params"]] for group in grouped(model))
    assert len(by_muon) == 2 * 7 - 1 and all("_proj" in name for name in by_muon)
    assert len(by_adamw) == 2 * 2 + 1 + (1 if tied else 2)
    assert any("embed" in name for name in by_adamw)


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        Muon([{"params": [torch.nn.Parameter(torch.zeros(3))], "muon": True}], lr=0.1)
