"""The noises that smoothed classifiers are made of, and their one-line specifications in suites and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sokbench.core.errors import InvalidInput, UnknownName

from .bits import fill_laplace, fill_uniform
from .noise_base import Noise, check_positive
from .noise_gaussian import DiscreteGaussian, Gaussian
from .noise_pixels import Ablation, Replacement
from .noise_radial import L2Exponential
from .noise_semantic import BrightnessContrast, Translation
from .noise_shapes import GeneralizedGaussian, LinfExponential, Pareto
from .noise_splitting import Splitting

if TYPE_CHECKING:
    from torch import Generator, Tensor

__all__ = [
    "EXAMPLES",
    "NOISES",
    "Ablation",
    "BrightnessContrast",
    "DiscreteGaussian",
    "Gaussian",
    "GeneralizedGaussian",
    "L2Exponential",
    "Laplace",
    "LinfExponential",
    "Noise",
    "Pareto",
    "Replacement",
    "Splitting",
    "Translation",
    "Uniform",
    "from_spec",
]


@dataclass(frozen=True)
class Laplace(Noise):
    """Independent noise of density exp(-|z| / scale) / (2 scale) on every coordinate; deviation sqrt(2) scale."""

    kind: ClassVar[str] = "laplace"
    scale: float

    def __post_init__(self) -> None:
        check_positive("scale of the Laplace noise", self.scale)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        fill_laplace(out, self.scale, generator)
        out.add_(x)


@dataclass(frozen=True)
class Uniform(Noise):
    """Independent noise, uniform on [-half_width, half_width], on every coordinate; deviation half_width / sqrt(3)."""

    kind: ClassVar[str] = "uniform"
    half_width: float

    def __post_init__(self) -> None:
        check_positive("half_width of the uniform noise", self.half_width)

    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        fill_uniform(out, self.half_width, generator)
        out.add_(x)


EXAMPLES: Final[tuple[Noise, ...]] = (
    Gaussian(0.5),
    DiscreteGaussian(0.5, 255),
    Laplace(0.5),
    Uniform(0.5),
    GeneralizedGaussian(0.5, 1.5),
    Pareto(0.5, 3.0),
    LinfExponential(0.5, 4),
    L2Exponential(0.5, 4),
    Splitting(20, 255),
    Replacement(0.2, 256),
    Ablation(10, 100, 0.5),
    BrightnessContrast(0.2, 0.2),
    Translation(3.0),
)
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
