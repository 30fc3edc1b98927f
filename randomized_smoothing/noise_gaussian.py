"""Gaussian noise, and the same noise on a grid, drawn in exact integer arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final

from sokbench.core.errors import InvalidInput

from .bits import fill_normal
from .noise_base import LARGEST_INPUT, Noise, check_positive, check_whole

if TYPE_CHECKING:
    from torch import Generator, Tensor

REACH: Final = 8.3
"""Standard deviations after which the discrete noise is cut off; P[|z| > 8.3] < 2^-53."""
LARGEST_TABLE: Final = 2**12
"""Values of the noise on one side of zero, at most: sigma * steps up to 490."""


@dataclass(frozen=True)
class Gaussian(Noise):
    """Independent normal noise of standard deviation `sigma` (units of the input) on every coordinate."""

    kind: ClassVar[str] = "gaussian"
    sigma: float

    def __post_init__(self) -> None:
        check_positive("sigma of the Gaussian noise", self.sigma)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        fill_normal(out, self.sigma, generator)
        out.add_(x)


@dataclass(frozen=True)
class DiscreteGaussian(Noise):
    """x + z rounded to multiples of 1/steps, z normal of deviation `sigma`: exact noise for images of whole levels.

    For inputs that are multiples of 1/steps (255 for 8-bit images) rounding x + z is adding round(steps z) / steps, an
    integer that is drawn from 63 random bits by comparison with a table of thresholds: no float is involved whose
    rounding an attacker could lean on, and the noisy input is the same on every machine. Rounding is done to a sample
    of Gaussian noise, so all certificates of Gaussian noise hold, between inputs on the grid. Table and cut-off make
    the sampled law differ from that by less than `sampling_error`, which certificates take off p.

    Vaclav Voracek, Matthias Hein: Sound Randomized Smoothing in Floating-Point Arithmetic, ICLR 2023.
    """

    kind: ClassVar[str] = "discrete_gaussian"
    sigma: float
    steps: int

    def __post_init__(self) -> None:
        check_positive("sigma of the discrete Gaussian noise", self.sigma)
        check_whole("number of steps of the discrete Gaussian noise", self.steps, 1)
        if math.ceil(REACH * self.sigma * self.steps) > LARGEST_TABLE:
            raise InvalidInput(f"sigma * steps must be at most {LARGEST_TABLE / REACH:.0f} for discrete Gaussian noise")

    @property
    def law(self) -> Noise:
        return Gaussian(self.sigma)

    @property
    def sampling_error(self) -> float:
        # every threshold errs by less than 2^-52 (rounding of Phi, of its argument and to 63 bits), which changes the
        # law of a coordinate by at most the sum over the table; coordinates add up. The cut-off adds 2^-53 each.
        return LARGEST_INPUT * (2 * math.ceil(REACH * self.sigma * self.steps) + 1) * 2.0**-52

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        level = (x * self.steps).round()
        if x.numel() > LARGEST_INPUT or not torch.allclose(level / self.steps, x, rtol=0.0, atol=1e-3 / self.steps):
            raise InvalidInput(
                f"discrete Gaussian noise is for inputs of at most {LARGEST_INPUT} multiples of 1/{self.steps}"
            )
        thresholds = torch.tensor(_thresholds(self.sigma, self.steps))
        bits = torch.empty(out.shape, dtype=torch.int64).random_(generator=generator)
        number = torch.searchsorted(thresholds, bits, right=True) - len(thresholds) // 2
        out.copy_(number).add_(level).div_(self.steps)


@cache
def _thresholds(sigma: float, steps: int) -> tuple[int, ...]:
    """2^63 P[round(steps z) < j] for j from -reach to reach + 1, without the first and the last: an even number."""
    reach = math.ceil(REACH * sigma * steps)
    # the upper half mirrors the lower one, where Phi is precise
    lower = [
        max(1, round(2**62 * math.erfc((0.5 + j) / (steps * sigma * math.sqrt(2.0))))) for j in range(reach - 1, -1, -1)
    ]
    return (*lower, *(2**63 - value for value in reversed(lower)))
