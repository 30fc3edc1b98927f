"""Functions of one variable, applied to every entry; `verifiers.bounds.relaxations` says how they are bounded."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import Op


class Elementwise(Op):
    """f(x), entry by entry."""

    @final
    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return self.apply(x)

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """f of every entry of x."""


@final
@dataclass(frozen=True, eq=False)
class Relu(Elementwise):
    """max(x, 0)."""

    def apply(self, x: Tensor) -> Tensor:
        return F.relu(x)


@final
@dataclass(frozen=True, eq=False)
class LeakyRelu(Elementwise):
    """x where x >= 0, slope * x elsewhere; 0 <= slope <= 1."""

    slope: float

    def apply(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope)


@final
@dataclass(frozen=True, eq=False)
class Abs(Elementwise):
    """|x|."""

    def apply(self, x: Tensor) -> Tensor:
        return x.abs()


@final
@dataclass(frozen=True, eq=False)
class Clamp(Elementwise):
    """min(max(x, low), high)."""

    low: float
    high: float

    def apply(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


@final
@dataclass(frozen=True, eq=False)
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@final
@dataclass(frozen=True, eq=False)
class Tanh(Elementwise):
    """tanh x."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@final
@dataclass(frozen=True, eq=False)
class Arctan(Elementwise):
    """arctan x."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.atan(x)


@final
@dataclass(frozen=True, eq=False)
class Erf(Elementwise):
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    def apply(self, x: Tensor) -> Tensor:
        return torch.erf(x)


@final
@dataclass(frozen=True, eq=False)
class Softplus(Elementwise):
    """log(1 + exp(beta x)) / beta."""

    beta: float = 1.0

    def apply(self, x: Tensor) -> Tensor:
        return F.softplus(x, self.beta)


@final
@dataclass(frozen=True, eq=False)
class Elu(Elementwise):
    """x where x >= 0, alpha (exp(x) - 1) elsewhere."""

    alpha: float = 1.0

    def apply(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)


@final
@dataclass(frozen=True, eq=False)
class Silu(Elementwise):
    """x sigmoid(x)."""

    def apply(self, x: Tensor) -> Tensor:
        return F.silu(x)


@final
@dataclass(frozen=True, eq=False)
class Gelu(Elementwise):
    """x Phi(x), or its tanh approximation."""

    approximate: Literal["none", "tanh"] = "none"

    def apply(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate=self.approximate)


@final
@dataclass(frozen=True, eq=False)
class Exp(Elementwise):
    """exp x."""

    def apply(self, x: Tensor) -> Tensor:
        return x.exp()


@final
@dataclass(frozen=True, eq=False)
class Log(Elementwise):
    """log x, for x > 0."""

    def apply(self, x: Tensor) -> Tensor:
        return x.log()


@final
@dataclass(frozen=True, eq=False)
class Sqrt(Elementwise):
    """The square root of x, for x >= 0."""

    def apply(self, x: Tensor) -> Tensor:
        return x.sqrt()


@final
@dataclass(frozen=True, eq=False)
class Square(Elementwise):
    """x squared."""

    def apply(self, x: Tensor) -> Tensor:
        return x.square()


@final
@dataclass(frozen=True, eq=False)
class Reciprocal(Elementwise):
    """1 / x, for x on one side of 0."""

    def apply(self, x: Tensor) -> Tensor:
        return x.reciprocal()
