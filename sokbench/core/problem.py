"""The question put to a verifier: is the label of `network` at `x` the same on the whole ball?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from .errors import InvalidInput

if TYPE_CHECKING:
    from torch import Tensor

    from .network import Network

Norm = Literal["linf", "l2", "l1", "l0"]
NORMS: tuple[str, ...] = get_args(Norm)
TRANSFORMATIONS = ("translation", "brightness_contrast")
"""What some certifiers state in place of a norm: the size of a transformation, of which there is no ball."""


def parse_norm(norm: str) -> Norm:
    """Return `norm` if it names one of `NORMS`; raises `InvalidInput` otherwise."""
    if norm not in NORMS:
        raise InvalidInput(f"unknown norm {norm!r}; use one of {', '.join(NORMS)}")
    return cast(Norm, norm)


@dataclass(frozen=True)
class Ball:
    """The perturbations x' with ||x' - x||_norm <= radius, intersected with the box low <= x' <= high where given.

    radius: in units of the unnormalized input (for l0: how many coordinates may change)
    low, high: the valid range of every coordinate, or None for no bound on that side
    Raises `InvalidInput` for an unknown norm, a negative or non-finite radius, or low >= high.
    """

    norm: Norm
    radius: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        parse_norm(self.norm)
        if not (math.isfinite(self.radius) and self.radius >= 0):
            raise InvalidInput(f"the radius must be a finite number >= 0, not {self.radius}")
        for name, bound in (("low", self.low), ("high", self.high)):
            if bound is not None and math.isnan(bound):
                raise InvalidInput(f"{name} of the input box is NaN")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise InvalidInput(f"the input box is empty: low {self.low} >= high {self.high}")

    def with_radius(self, radius: float) -> Ball:
        return Ball(self.norm, radius, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Problem:
    """One network, one input, its label and the ball around it.

    x: one input, shape `network.input_shape`, floating point, unnormalized units
    label: the class that should stay on top, 0 <= label < network.num_classes
    Raises `InvalidInput` for a wrong shape or type, NaN or infinity in `x`, `x` outside [low, high] or a bad label.
    """

    network: Network
    x: Tensor
    label: int
    ball: Ball

    def __post_init__(self) -> None:
        expected = tuple(self.network.input_shape)
        if tuple(self.x.shape) != expected:
            raise InvalidInput(
                f"the input has shape {tuple(self.x.shape)}, but {self.network.name} expects {expected} (one input, "
                "without a batch dimension)"
            )
        check_inputs(self.x, self.ball)
        if self.network.num_classes < 2:
            raise InvalidInput(f"{self.network.name} has one output; a classifier has one for each class")
        if not 0 <= self.label < self.network.num_classes:
            raise InvalidInput(
                f"label {self.label} is out of range: {self.network.name} has "
                f"{self.network.num_classes} classes, 0 to {self.network.num_classes - 1}"
            )


def check_inputs(x: Tensor, ball: Ball) -> None:
    """Raise `InvalidInput` unless `x` is finite, floating point and inside the box of `ball`."""
    if not x.is_floating_point():
        raise InvalidInput(f"the input must be floating point, not {x.dtype}; pixels are scaled to [0, 1]")
    smallest, largest = (float(end) for end in x.aminmax())
    if not (math.isfinite(smallest) and math.isfinite(largest)):
        raise InvalidInput("the input contains NaN or infinity")
    if (ball.low is not None and smallest < ball.low) or (ball.high is not None and largest > ball.high):
        raise InvalidInput(
            f"the input lies outside the box [{ball.low}, {ball.high}]: its values span "
            f"[{smallest:g}, {largest:g}]; is it normalized or scaled to 0..255?"
        )
