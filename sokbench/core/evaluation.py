"""Evaluation of a network by plain PyTorch in float64: the referee between methods.

Witnesses are judged here and nowhere else, so that no method is its own judge.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from .problem import Problem

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from .network import Network
    from .problem import Ball

# float64 copies of the networks in use: a network is immutable, and copying one costs more than evaluating it
_COPIES: WeakKeyDictionary[Network, Module] = WeakKeyDictionary()


def logits64(network: Network, x: Tensor) -> Tensor:
    """Logits (B, C) of `x` (B, *input_shape), computed in float64 on the CPU."""
    if network not in _COPIES:
        _COPIES[network] = copy.deepcopy(network.module).double().cpu().eval()
    with torch.no_grad():
        logits: Tensor = _COPIES[network](x.detach().double().cpu())
    return logits


def least_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """min over j != y of f_y - f_j, shape (B,), for logits (B, C) and labels (B,)."""
    top = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return (top - others.amax(dim=1, keepdim=True)).squeeze(1)


def distance(a: Tensor, b: Tensor, norm: str) -> float:
    """The `norm` distance of two inputs of one shape, in float64."""
    difference = (a.double() - b.double()).flatten()
    order = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[norm]
    return float(torch.linalg.vector_norm(difference, order))


# float64 arithmetic on at most some 100,000 coordinates errs by less than this, relative to the size of the inputs
_ROUNDING = 1e-9


def in_ball(point: Tensor, x: Tensor, ball: Ball) -> bool:
    """Whether `point` lies in the ball around `x`, box included (up to float64 rounding of the distance)."""
    if not bool(torch.isfinite(point).all()):
        return False
    scale = 1.0 + float(x.abs().max())
    if distance(point, x, ball.norm) > ball.radius + _ROUNDING * scale:
        return False
    low_ok = ball.low is None or bool((point >= ball.low).all())
    return low_ok and (ball.high is None or bool((point <= ball.high).all()))


def judge_witness(problem: Problem, witness: Tensor) -> tuple[bool, float]:
    """(valid, margin): whether `witness` is in the ball and misclassified, and its least margin, in float64.

    A tie counts as misclassified: "verified" claims f_y > f_j strictly.
    """
    logits = logits64(problem.network, witness[None])
    margin = float(least_margin(logits, torch.tensor([problem.label])))
    return in_ball(witness, problem.x, problem.ball) and margin <= 0.0, margin
