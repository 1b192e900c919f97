"""Stacked Muon: parity with PyTorch's own, which works on one matrix at a time in bf16."""

from __future__ import annotations

import pytest
import torch

from engrain.testbed.muon import StackedMuon, orthogonalise


def test_orthogonalising_brings_all_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    for found in (orthogonalise(matrices), orthogonalise(matrices.mT.contiguous())):
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.4
        assert values.max() < 1.4


def test_updates_are_those_of_pytorch_up_to_its_bf16() -> None:
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(16, 16, generator=generator), torch.randn(48, 16, generator=generator)]
    ours = [torch.nn.Parameter(t.clone()) for t in start]
    theirs = [torch.nn.Parameter(t.clone()) for t in start]
    mine = StackedMuon(ours, lr=0.02)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.0)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step()
        reference.step()
    for a, b, s in zip(ours, theirs, start, strict=True):
        moved = (b - s).norm()
        assert (a - b).norm() < 0.05 * moved


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="matrices"):
        StackedMuon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
