"""The smooth activations as curves: values, slopes, where they are convex and concave, and what evaluating them can
lose. What `verifiers.bounds.relaxations.tangents` needs to know.

Errors: torch evaluates exp, expm1, log, log1p, sqrt, tanh, arctan, sigmoid, erf and erfc in float64 within 1 ulp (its
vectorized kernels are SLEEF's, of 1 to 1.5 ulp; the tests compare them with mpmath). The formulas below combine at most
five of these and of the basic operations without cancellation, so that 8 eps covers a relative error, plus `noise` eps
where the argument of a function with an exponential tail is itself rounded: e^(z (1 + d)) = e^z (1 + z d + ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from verifiers.graph.elementwise import (
    Arctan,
    Elementwise,
    Elu,
    Erf,
    Exp,
    Gelu,
    Log,
    Reciprocal,
    Sigmoid,
    Silu,
    Softplus,
    Sqrt,
    Square,
    Tanh,
)

Function = Callable[[Tensor], Tensor]
Range = tuple[float, float]

_INF = math.inf
_ALL, _NONE = (-_INF, _INF), (_INF, _INF)
_FLAT = 750.0  # e^-750 is 0 in float64
_BEND_ERROR = 1e-40


def _no_noise(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def _everywhere(lower: Tensor, upper: Tensor) -> Tensor:
    return torch.ones_like(lower, dtype=torch.bool)


def _middle(lower: Tensor, upper: Tensor) -> Tensor:
    return lower / 2 + upper / 2


@dataclass(frozen=True)
class Curve:
    """A smooth function f, convex on `convex` and concave on all of `concave` (at most two intervals).

    valley:      where f is least: it falls before and rises after
    range:       of f
    defined:     (l, u) -> whether f is finite on all of [l, u]
    slope_scale: a bound of the sizes of what is added up to f', where that is not f' itself
    noise:       relative error of values and slopes beyond 8 eps, in eps
    bend_error:  absolute error of saying that f is convex or concave on the whole of these intervals, and of leaving
                 out what lies between them
    kink:        the slopes left and right of 0, where they differ
    touch:       where the tangent touches if any point will do
    sag:         (from, how much): beyond this point torch's function is lower than f, by at most so much
    """

    value: Function
    slope: Function
    convex: Range
    concave: tuple[Range, ...]
    valley: float = -_INF
    range: Range = _ALL
    defined: Callable[[Tensor, Tensor], Tensor] = _everywhere
    slope_scale: Function | None = None
    noise: Function = _no_noise
    bend_error: float = 0.0
    kink: Range | None = None
    touch: Callable[[Tensor, Tensor], Tensor] = _middle
    sag: tuple[float, float] = (_INF, 0.0)

    def value_error(self, x: Tensor, value: Tensor) -> Tensor:
        """What `value`, computed at x, may differ from f(x)."""
        limits = torch.finfo(x.dtype)
        return value.abs() * ((8 + self.noise(x)) * limits.eps) + limits.tiny

    def slope_error(self, x: Tensor, slope: Tensor) -> Tensor:
        """What `slope`, computed at x, may differ from f'(x)."""
        limits = torch.finfo(x.dtype)
        scale = slope.abs() if self.slope_scale is None else self.slope_scale(x)
        return scale * ((8 + self.noise(x)) * limits.eps) + limits.tiny

    def sag_at(self, upper: Tensor) -> Tensor:
        """How far torch's function may lie below f somewhere up to `upper`."""
        start, depth = self.sag
        return torch.where(upper > start, depth, 0.0).to(upper.dtype)


def _logistic_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


SIGMOID = Curve(torch.sigmoid, _logistic_slope, (-_INF, 0.0), ((0.0, _INF),), range=(0.0, 1.0))

TANH = Curve(torch.tanh, lambda x: 4 * _logistic_slope(2 * x), (-_INF, 0.0), ((0.0, _INF),), range=(-1.0, 1.0))

ARCTAN = Curve(
    torch.atan,
    lambda x: 1 / (1 + x.square()),
    (-_INF, 0.0),
    ((0.0, _INF),),
    range=(-math.nextafter(math.pi / 2, 2), math.nextafter(math.pi / 2, 2)),
)

ERF = Curve(
    torch.erf,
    lambda x: (-x.clamp(-40, 40).square()).exp() * (2 / math.sqrt(math.pi)),
    (-_INF, 0.0),
    ((0.0, _INF),),
    range=(-1.0, 1.0),
    noise=lambda x: 3 * x.clamp(-40, 40).square(),
)

# the tangent at l + 1 reaches 0 at l: before it, the lower line stays positive, as a sum that is divided by must be
# (Xu et al. 2020; the constant is auto_LiRPA's)
EXP = Curve(
    torch.exp, torch.exp, _ALL, (), range=(0.0, _INF), touch=lambda low, up: torch.minimum(_middle(low, up), low + 0.99)
)

LOG = Curve(torch.log, torch.reciprocal, _NONE, (_ALL,), defined=lambda low, _: low > 0)

SQRT = Curve(torch.sqrt, lambda x: 0.5 / x.sqrt(), _NONE, (_ALL,), range=(0.0, _INF), defined=lambda low, _: low >= 0)

SQUARE = Curve(torch.square, lambda x: 2 * x, _ALL, (), valley=0.0, range=(0.0, _INF))

RECIPROCAL = Curve(
    torch.reciprocal,
    lambda x: -x.reciprocal().square(),
    (0.0, _INF),
    ((-_INF, 0.0),),
    valley=_INF,
    defined=lambda low, up: (low > 0) | (up < 0),
)


def _softplus(beta: float) -> Curve:
    """torch returns x instead of log(1 + exp(beta x)) / beta where beta x > 20, which is less by e^-20 / beta."""
    return Curve(
        lambda x: x.clamp(min=0) + torch.log1p((-(beta * x).abs()).exp()) / beta,
        lambda x: torch.sigmoid(beta * x),
        _ALL,
        (),
        range=(0.0, _INF),
        noise=lambda x: 2 * (-beta * x).clamp(0, _FLAT),
        sag=(20 / beta * (1 - 1e-6), 1.01 * math.exp(-20) / beta),
    )


def _elu(alpha: float) -> Curve:
    """Convex for 0 <= alpha <= 1. For alpha > 1 (SELU) convex up to 0, where it has a concave kink.

    The slope at 0 is the right one, so that 0 itself is left out of the convex part; up to 0 f moves by alpha 1e-37.
    """
    left, right = (_ALL, ()) if alpha <= 1 else ((-_INF, -1e-37), ((0.0, _INF),))
    return Curve(
        lambda x: torch.where(x >= 0, x, alpha * torch.expm1(x.clamp(max=0))),
        lambda x: torch.where(x >= 0, torch.ones_like(x), alpha * x.clamp(max=0).exp()),
        left,
        right,
        range=(-alpha, _INF),
        bend_error=0.0 if alpha <= 1 else 3e-37 * alpha,
        kink=None if alpha == 1 else (alpha, 1.0),
    )


def _bump(value: Function, slope: Function, scale: Function, noise: Function, valley: float, bend: float) -> Curve:
    """x/2 + h(x) with h even, h' > 0 for x > 0, convex on [-bend, bend] and concave beyond.

    A bend is known within 1e-14; f'' is at most 2e-14 on the part where the sign is then wrong, and tangents there
    err by less than 1e-40.
    """
    return Curve(
        value,
        slope,
        (-bend, bend),
        ((-_INF, -bend), (bend, _INF)),
        valley=valley,
        slope_scale=scale,
        noise=noise,
        bend_error=_BEND_ERROR,
    )


# h'' = sigmoid' (2 - x tanh(x / 2)), and x tanh(x / 2) is increasing in |x|
SILU = _bump(
    lambda x: x * torch.sigmoid(x),
    lambda x: torch.sigmoid(x) * (1 + x * torch.sigmoid(-x)),
    lambda x: torch.sigmoid(x) * (1 + x.abs() * torch.sigmoid(-x)),
    _no_noise,
    valley=-1.2784645427610738,
    bend=2.3993572805154706,
)


def _normal_density(x: Tensor) -> Tensor:
    return (-0.5 * x.clamp(-40, 40).square()).exp() * (1 / math.sqrt(2 * math.pi))


def _normal_cdf(x: Tensor) -> Tensor:
    tail: Tensor = torch.special.erfc(-math.sqrt(0.5) * x)
    return 0.5 * tail


# f'' = density (2 - x^2)
GELU = _bump(
    lambda x: x * _normal_cdf(x),
    lambda x: _normal_cdf(x) + x * _normal_density(x),
    lambda x: _normal_cdf(x) + x.abs() * _normal_density(x),
    lambda x: 3 * x.clamp(-40, 40).square(),
    valley=-0.7517915246935645,
    bend=math.sqrt(2),
)

_KAPPA = 0.044715
_ROOT = 2 * math.sqrt(2 / math.pi)


def _gate(x: Tensor) -> Tensor:
    return _ROOT * (x + _KAPPA * x * x * x)


def _gate_term(x: Tensor) -> Tensor:
    """d/dx of sigmoid(gate), which is 0 in floating point beyond 40."""
    near = x.clamp(-40, 40)
    return _logistic_slope(_gate(near)) * _ROOT * (1 + 3 * _KAPPA * near.square())


# (1 + tanh p) / 2 = sigmoid(2 p). h'' = sech^2(p) (p' + x p'' / 2 - x tanh(p) p'^2), where
# p' + x p'' / 2 ~ 1 + 6 k x^2 and x tanh(p) (1 + 3 k x^2)^2 / (1 + 6 k x^2) is increasing in |x|: one change of sign
GELU_TANH = _bump(
    lambda x: x * torch.sigmoid(_gate(x)),
    lambda x: torch.sigmoid(_gate(x)) + x * _gate_term(x),
    lambda x: torch.sigmoid(_gate(x)) + x.abs() * _gate_term(x),
    lambda x: 8 * _gate(x.clamp(-40, 40)).abs().clamp(max=_FLAT),
    valley=-0.7524614220710162,
    bend=1.4185040087908284,
)

_FIXED: dict[type[Elementwise], Curve] = {
    Sigmoid: SIGMOID,
    Tanh: TANH,
    Arctan: ARCTAN,
    Erf: ERF,
    Exp: EXP,
    Log: LOG,
    Sqrt: SQRT,
    Square: SQUARE,
    Reciprocal: RECIPROCAL,
    Silu: SILU,
}


def curve_of(op: Elementwise) -> Curve | None:
    """The curve of a smooth activation (ELU included); None for any other."""
    if isinstance(op, Softplus) and op.beta > 0:
        return _softplus(op.beta)
    if isinstance(op, Elu) and op.alpha >= 0:
        return _elu(op.alpha)
    if isinstance(op, Gelu):
        return GELU if op.approximate == "none" else GELU_TANH
    return _FIXED.get(type(op))
