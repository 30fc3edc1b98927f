"""The noises that smoothed classifiers are made of, and their one-line specifications in suites and rows.

A noise is a value: it draws from the generator it is given and keeps no state. Torch is loaded only where samples are
drawn, so that certifiers run where torch is not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sokbench.core.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from torch import Generator, Tensor


def _check_positive(what: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):  # type: ignore[arg-type,operator]
        raise InvalidInput(f"the {what} must be a finite number > 0, not {value!r}")


class Noise(ABC):
    """How an input is randomized before the base classifier sees it."""

    kind: ClassVar[str]

    @abstractmethod
    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        """Fill `out` (k, *shape) with k independent noisy copies of `x` (shape), both float32 on the CPU."""

    def to_spec(self) -> dict[str, Any]:
        """The noise as JSON values, e.g. {"kind": "gaussian", "sigma": 0.5}; `from_spec` is the inverse."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Gaussian(Noise):
    """Independent normal noise of standard deviation `sigma` (units of the input) on every coordinate."""

    kind: ClassVar[str] = "gaussian"
    sigma: float

    def __post_init__(self) -> None:
        _check_positive("sigma of the Gaussian noise", self.sigma)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        out.normal_(0.0, self.sigma, generator=generator)
        out.add_(x)


@dataclass(frozen=True)
class Laplace(Noise):
    """Independent noise of density exp(-|z| / scale) / (2 scale) on every coordinate; deviation sqrt(2) scale."""

    kind: ClassVar[str] = "laplace"
    scale: float

    def __post_init__(self) -> None:
        _check_positive("scale of the Laplace noise", self.scale)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        import torch

        # by inversion, in float64: 24 bits would cut the tails off at 17 scales and leave gaps before that
        uniform = torch.empty(out.shape, dtype=torch.float64).uniform_(-1.0, 1.0, generator=generator)
        magnitude = uniform.abs().clamp_max_(1.0 - 2.0**-53).neg_().log1p_().mul_(-self.scale)
        out.copy_(magnitude.copysign_(uniform))
        out.add_(x)


@dataclass(frozen=True)
class Uniform(Noise):
    """Independent noise, uniform on [-half_width, half_width], on every coordinate; deviation half_width / sqrt(3)."""

    kind: ClassVar[str] = "uniform"
    half_width: float

    def __post_init__(self) -> None:
        _check_positive("half_width of the uniform noise", self.half_width)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        out.uniform_(-self.half_width, self.half_width, generator=generator)
        out.add_(x)


EXAMPLES: Final[tuple[Noise, ...]] = (Gaussian(0.5), Laplace(0.5), Uniform(0.5))
"""One noise of every kind, for whoever wants to try them all."""

NOISES: Final[Mapping[str, type[Noise]]] = {noise.kind: type(noise) for noise in EXAMPLES}


def from_spec(spec: Mapping[str, Any]) -> Noise:
    """The noise of a specification such as {"kind": "gaussian", "sigma": 0.5}.

    Raises `UnknownName` for another kind, `InvalidInput` for a missing, unknown or unusable parameter.
    """
    if "kind" not in spec:
        raise InvalidInput(f'a noise needs a kind, e.g. {{"kind": "gaussian", "sigma": 0.5}}, not {dict(spec)}')
    kind = spec["kind"]
    if kind not in NOISES:
        raise UnknownName("noise", str(kind), NOISES)
    cls = NOISES[kind]
    wanted = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    given = set(spec) - {"kind"}
    if given != wanted:
        raise InvalidInput(
            f"the noise {kind!r} takes {', '.join(sorted(wanted))}, but got {', '.join(sorted(given)) or 'nothing'}"
        )
    return cls(**{name: spec[name] for name in wanted})
