"""Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) for small models on a CPU.

`torch.optim.Muon` orthogonalises one matrix at a time in bf16, which a CPU without bf16 units
emulates: it took nearly as long as the whole forward and backward pass of a student of 2.6M
parameters (docs/notebook.md, 2026-11-20). This one stacks matrices of one shape and works in fp32.
Knows nothing of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS = 5
"""Coefficients and steps as in the reference."""


class StackedMuon(torch.optim.Optimizer):
    """Momentum, then the nearest orthogonal matrix as the update; for matrices, no weight decay."""

    def __init__(self, params: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        """Take 2-D parameters; raises ValueError for others."""
        super().__init__(params, {"lr": lr, "momentum": momentum})
        shapes = [
            tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim != 2
        ]
        if shapes:
            raise ValueError(f"Muon is for matrices, not for shape {shapes[0]}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # As the base, overloaded.
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for parameters in by_shape.values():
                self._update(parameters, group["lr"], group["momentum"])
        return loss

    def _update(self, parameters: list[Tensor], rate: float, momentum: float) -> None:
        looked_ahead = []
        for parameter in parameters:
            assert parameter.grad is not None
            buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            buffer.lerp_(parameter.grad, 1 - momentum)
            looked_ahead.append(parameter.grad.lerp(buffer, momentum))
        rows, columns = parameters[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        for parameter, update in zip(
            parameters, orthogonalise(torch.stack(looked_ahead)), strict=True
        ):
            parameter.add_(update, alpha=-rate * scale)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Push all singular values of each matrix in (n, rows, columns) towards 1.

    By five Newton-Schulz steps with a quintic polynomial.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x
