"""The activations in 200-bit arithmetic, and intervals to try them on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import mpmath as mp

from verifiers.graph.elementwise import (
    Abs,
    Arctan,
    Clamp,
    Elementwise,
    Elu,
    Erf,
    Exp,
    Gelu,
    LeakyRelu,
    Log,
    Reciprocal,
    Sigmoid,
    Silu,
    Softplus,
    Sqrt,
    Square,
    Tanh,
)

Exact = Any  # mpmath has no types
ARITHMETIC = mp.mp.clone()
ARITHMETIC.prec = 200
number = ARITHMETIC.mpf


def _elu(alpha: float) -> Callable[[Exact], Exact]:
    return lambda x: x if x >= 0 else number(alpha) * ARITHMETIC.expm1(x)


def _leaky(slope: float) -> Callable[[Exact], Exact]:
    return lambda x: x if x >= 0 else number(slope) * x


def _softplus(beta: float) -> Callable[[Exact], Exact]:
    return lambda x: max(x, 0) + ARITHMETIC.log1p(ARITHMETIC.exp(-number(beta) * abs(x))) / number(beta)


def _logistic(x: Exact) -> Exact:
    return 1 / (1 + ARITHMETIC.exp(-x))


def _gelu(x: Exact) -> Exact:
    if abs(x) > 100:  # mpmath's erfc overflows; the difference is far below 10^-2000
        return x if x > 0 else -(number(10) ** -2000)
    return x * ARITHMETIC.erfc(-x / ARITHMETIC.sqrt(2)) / 2


def _gelu_tanh(x: Exact) -> Exact:
    root = 2 * ARITHMETIC.sqrt(2 / ARITHMETIC.pi)
    return x * _logistic(root * (x + number(0.044715) * x**3))


CASES: dict[str, tuple[Elementwise, Callable[[Exact], Exact]]] = {
    "leaky_relu": (LeakyRelu(0.01), _leaky(0.01)),
    "leaky_relu_steep": (LeakyRelu(1.5), _leaky(1.5)),
    "abs": (Abs(), abs),
    "clamp": (Clamp(-1.0, 0.5), lambda x: min(max(x, number(-1)), number(0.5))),
    "sigmoid": (Sigmoid(), _logistic),
    "tanh": (Tanh(), ARITHMETIC.tanh),
    "arctan": (Arctan(), ARITHMETIC.atan),
    "erf": (Erf(), ARITHMETIC.erf),
    "softplus": (Softplus(), _softplus(1.0)),
    "softplus_beta": (Softplus(3.7), _softplus(3.7)),
    "elu": (Elu(), _elu(1.0)),
    "elu_half": (Elu(0.5), _elu(0.5)),
    "selu": (Elu(1.6732632423543772), _elu(1.6732632423543772)),
    "silu": (Silu(), lambda x: x * _logistic(x)),
    "gelu": (Gelu(), _gelu),
    "gelu_tanh": (Gelu("tanh"), _gelu_tanh),
    "exp": (Exp(), ARITHMETIC.exp),
    "log": (Log(), ARITHMETIC.log),
    "sqrt": (Sqrt(), ARITHMETIC.sqrt),
    "square": (Square(), lambda x: x * x),
    "reciprocal": (Reciprocal(), lambda x: 1 / x),
}

_SPECIAL = [0.0, 1.0, math.sqrt(2), 2.3993572805154706, 1.2784645427610738, 0.5, 20.0, 709.0, 745.0, 38.0]
_EXTREME = [5e-324, 1e-310, 1e-300, 1e-40, 1e30, 1e150, 1e300]


def _number(chance: random.Random) -> float:
    kind = chance.random()
    sign = chance.choice([-1.0, 1.0])
    if kind < 0.5:
        return chance.uniform(-6, 6)
    if kind < 0.6:
        return sign * chance.choice(_SPECIAL)
    if kind < 0.7:
        return sign * chance.choice(_EXTREME)
    return sign * float(10 ** chance.uniform(-20, chance.choice([1.5, 3, 40, 300])))


def intervals(op: Elementwise, count: int, seed: int) -> list[tuple[float, float]]:
    """Tiny, huge, one-sided, symmetric and degenerate intervals on which `op` is defined."""
    chance = random.Random(seed)
    found = []
    while len(found) < count:
        a, kind = _number(chance), chance.random()
        if kind < 0.1:
            ends = (a, a)
        elif kind < 0.2:
            ends = (-abs(a), abs(a))
        elif kind < 0.4:
            ends = (a, a + abs(a) * 10 ** chance.uniform(-17, 0))
        else:
            ends = (a, _number(chance))
        low, high = min(ends), max(ends)
        if isinstance(op, (Log, Sqrt)):
            low, high = sorted((abs(low), abs(high)))
        if isinstance(op, Reciprocal) and low <= 0 <= high:
            low, high = sorted((abs(low) + 1e-300, abs(high) + 1e-300))
        found.append((low, high))
    return found


def points(low: float, high: float) -> list[Exact]:
    """Points of [low, high]: evenly and geometrically spread, the ends, and near where activations turn."""
    a, b = number(low), number(high)
    found = [a, b, *(a + (b - a) * k / 9 for k in range(1, 9))]
    found += [number(sign * x) for sign in (-1.0, 1.0) for x in (*_SPECIAL, 1e-38, 1e-20, 1e-9, 1e-4, 1e8, 1e100)]
    return [min(max(x, a), b) for x in found if a <= x <= b] + [a, b]
