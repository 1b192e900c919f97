"""Muon for a model's matrices, AdamW for its embeddings, heads and norms, as one optimizer.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) takes momentum, and then as the update
the nearest orthogonal matrix. `torch.optim.Muon` does that matrix by matrix in bf16; where a CPU
has no bf16 units, that took nearly as long as the whole forward and backward pass of a student of
2.6M parameters (docs/notebook.md, 2026-11-20). This one stacks matrices of one shape and works in
fp32 unless told otherwise. Knows nothing of what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS = 5
"""Coefficients and steps as in the reference."""
_ADAM_RMS = 0.2
"""The size of AdamW's usual update, to which Muon's is brought (Liu et al. 2025, arXiv 2502.16982,
section 2.2): so both take the same learning rate."""


class Muon(torch.optim.Optimizer):
    """Muon in the groups that say `"muon": True`, AdamW in the others."""

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        products: torch.dtype = torch.float32,
    ) -> None:
        """Take groups as `grouped` makes them; a group may bring its own `lr`.

        `products` is the type in which matrices are orthogonalised: bf16 is as good and faster
        where the device computes in it. Momentum and parameters keep theirs.
        Raises ValueError where a group for Muon holds anything but matrices.
        """
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        self._products = products
        super().__init__([dict(group) for group in groups], defaults)
        for group in self.param_groups:
            for parameter in group["params"] if group["muon"] else ():
                if parameter.ndim != 2:
                    raise ValueError(
                        f"Muon is for matrices, not for shape {tuple(parameter.shape)}"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # As the base, overloaded.
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not group["muon"]:
                self._adamw(parameters, group)
                continue
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in parameters:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():
                self._muon(alike, group)
        return loss

    def _muon(self, parameters: list[Tensor], group: Mapping[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        looked_ahead = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - momentum)
            looked_ahead.append(parameter.grad.lerp(state["momentum"], momentum))
        scale = _ADAM_RMS * max(parameters[0].shape) ** 0.5
        updates = orthogonalise(torch.stack(looked_ahead).to(self._products))
        for parameter, update in zip(parameters, updates, strict=True):
            parameter.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate * scale)

    def _adamw(self, parameters: list[Tensor], group: Mapping[str, Any]) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def grouped(model: nn.Module) -> list[dict[str, Any]]:
    """Two groups of the model's trainable parameters: matrices for Muon, the rest for AdamW.

    Embeddings, and the head over the vocabulary, are tables of vectors and no matrices in this
    sense.
    """
    tables = {
        id(module.weight)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or name.split(".")[-1] == "lm_head"
    }
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            parts[parameter.ndim == 2 and id(parameter) not in tables].append(parameter)
    return [{"params": found, "muon": muon} for muon, found in parts.items() if found]


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
