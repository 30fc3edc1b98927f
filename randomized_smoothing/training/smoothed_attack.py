"""The attack on a smoothed classifier that training uses: gradient steps on the mean soft output over fixed noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .base import logits_of

if TYPE_CHECKING:
    from torch import Tensor

    from .base import Module


def negative_log_mean(module: Module, copies: Tensor, labels: Tensor) -> Tensor:
    """-ln of the mean softmax output of the label over copies (m, B, *shape): (B,)."""
    log_soft = logits_of(module, copies).log_softmax(dim=2)
    of_label = log_soft.gather(2, labels.expand(len(copies), -1)[..., None]).squeeze(2)
    return float(torch.tensor(len(copies)).log()) - of_label.logsumexp(dim=0)


def ascend(
    module: Module, x: Tensor, labels: Tensor, shifts: Tensor, steps: int, step: float, radius: float | None
) -> Tensor:
    """x moved by `steps` steps of l2 length `step` up the gradient of `negative_log_mean` at x + shifts.

    shifts: (m, B, *shape), the noise, the same in every step; radius: of the l2 ball to stay in, None for no ball.
    """
    moved = torch.zeros_like(x)
    for _ in range(steps):
        moved.requires_grad_(True)
        loss = negative_log_mean(module, x + moved + shifts, labels).sum()
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + step * _unit(gradient)
        if radius is not None:
            length = moved.flatten(1).norm(dim=1).clamp_min(1e-12)
            moved = moved * (radius / length).clamp_max(1.0).view(-1, *[1] * (x.dim() - 1))
    return x + moved.detach()


def _unit(gradient: Tensor) -> Tensor:
    length: Tensor = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
    return gradient / length.view(-1, *[1] * (gradient.dim() - 1))
