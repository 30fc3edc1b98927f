"""What a noise is: a value that draws from the generator it is given and keeps no state.

Torch is loaded only where samples are drawn, so that certifiers run where torch is not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sokbench.core.errors import InvalidInput

if TYPE_CHECKING:
    from torch import Generator, Tensor


def check_positive(what: str, value: object) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value > 0):  # type: ignore[arg-type,operator]
        raise InvalidInput(f"the {what} must be a finite number > 0, not {value!r}")


LARGEST_INPUT: Final = 2**18
"""Coordinates of the largest input that sampling errors are summed over: more than 3 x 224 x 224."""


class Noise(ABC):
    """How an input is randomized before the base classifier sees it."""

    kind: ClassVar[str]
    additive: ClassVar[bool] = True
    """Whether a noisy copy is the input plus something that does not depend on it."""

    @property
    def law(self) -> Noise:
        """The noise that certificates are computed for: samples are those of `law`, or a function of them."""
        return self

    @property
    def sampling_error(self) -> float:
        """Bound of the total variation distance between a noisy copy as drawn and what `law` promises, where it is
        counted: float32 noise has none, its rounding belongs to the base classifier. Certificates take it off p."""
        return 0.0

    @abstractmethod
    def sample_(self, out: Tensor, x: Tensor, generator: Generator) -> None:
        """Fill `out` (k, *shape) with k independent noisy copies of `x` (shape), both float32 on the CPU."""

    def draw_(self, out: Tensor, x: Tensor, generator: Generator, first: int) -> None:
        """Fill `out` with the samples number `first`, first + 1, ... of a stream: `sample_`, unless they are counted
        through instead of drawn."""
        self.sample_(out, x, generator)

    def to_spec(self) -> dict[str, Any]:
        """The noise as JSON values, e.g. {"kind": "gaussian", "sigma": 0.5}; `from_spec` is the inverse."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]


def check_whole(what: str, value: object, least: int) -> None:
    """Raise `InvalidInput` unless the value is an integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidInput(f"the {what} must be an integer >= {least}, not {value!r}")
