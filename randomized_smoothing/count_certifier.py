"""What all certifiers that work from class counts share: the statistics, the checks of p and q, and the rounding."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, final

import numpy as np

from sokbench.core.certifier import ABSTAIN, Certificate, Certifier
from sokbench.core.errors import InvalidInput, Unsupported

from .confidence import lower_bound, upper_bound
from .noise import Noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

ULP: Final = 2.0**-52
"""Relative spacing of float64 numbers."""


class CountCertifier(Certifier):
    """A closed form from (p, q) to a radius, with the statistics of Cohen et al. (2019), algorithm CERTIFY.

    A concrete certifier names its noises and writes down its closed form; what it is given is valid by then.
    """

    noises: ClassVar[tuple[type[Noise], ...]]

    @abstractmethod
    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Any) -> tuple[Floats, Floats]:
        """(value, error): the radius where 0 <= q < p <= 1, and a bound of the error of its float evaluation.

        tail: 1 - p as a number of its own, accurate where p is close to 1. All three are 1-D arrays of one length.
        A value below 0 means that nothing is certified.
        """

    @final
    def radius(self, p: ArrayLike, q: ArrayLike | None, noise: Any) -> Floats:
        """See `Certifier.radius`. Raises `InvalidInput` where p or q is not a probability."""
        p = probabilities("p", p)
        tail = 1.0 - p
        return self._radius(p, tail, tail if q is None else probabilities("q", q), noise)

    @final
    def certify(
        self, selection_counts: NDArray[np.int64], counts: NDArray[np.int64], noise: Any, alpha: float
    ) -> Certificate:
        """The class that `selection_counts` puts first, its bounds from `counts`, and the radius.

        Abstains unless p > q. Raises `InvalidInput` for counts that are no counts.
        """
        selection, estimation = counts_of_both(selection_counts, counts)
        prediction = int(selection.argmax())
        p, tail, q = self.bounds(estimation, prediction, alpha)
        if p <= q:
            return Certificate(ABSTAIN, 0.0, float(p), float(q))
        return Certificate(prediction, float(self._radius(p, tail, q, noise)), float(p), float(q))

    def bounds(self, counts: NDArray[np.int64], top: int, alpha: float) -> tuple[Floats, Floats, Floats]:
        """(p, tail, q) from the class counts (classes,) of the estimation, together right with confidence 1 - alpha.

        One Clopper-Pearson bound is spent on all of alpha: p is a lower bound of the probability of class `top`, and
        q = 1 - p then bounds every other class. A certifier that makes more of a separate q may spend alpha otherwise.
        """
        hits, total = int(counts[top]), int(counts.sum())
        p, tail = one_against_the_rest(hits, total, alpha)
        return p, tail, tail

    def _radius(self, p: Floats, tail: Floats, q: Floats, noise: Any) -> Floats:
        law = noise.law if isinstance(noise, Noise) else noise
        if not isinstance(law, self.noises):
            names = " and ".join(cls.kind for cls in self.noises)
            raise Unsupported(f"{self.info.slug} certifies {names} noise, not {getattr(noise, 'kind', noise)!r}")
        p, tail, q = np.broadcast_arrays(p, tail, q)
        if noise.sampling_error:
            # p and q were estimated under the noise as drawn; this is what they are under the noise as certified. One
            # more ulp makes up for the rounding of the sums.
            error = noise.sampling_error + ULP
            p, tail, q = np.maximum(p - error, 0.0), np.minimum(tail + error, 1.0), np.minimum(q + error, 1.0)
        certified = p > q
        radius = np.zeros(p.shape)
        value, error = self.closed_form(p[certified], tail[certified], q[certified], law)
        radius[certified] = rounded_down(value, error)
        return radius


@lru_cache(maxsize=4096)
def one_against_the_rest(hits: int, total: int, alpha: float) -> tuple[Floats, Floats]:
    """(p, tail): remembered, because all certifiers of a sampling pass ask for the same."""
    return lower_bound(hits, total, alpha), upper_bound(total - hits, total, alpha)


def rounded_down(value: Floats, error: Floats) -> Floats:
    """Radii below `value` by more than `error`, never below 0; an infinite one (p = 1) stays infinite."""
    infinite = np.isinf(value)
    safe = np.where(infinite, value, np.nextafter(value - np.where(infinite, 0.0, error), -math.inf))
    return np.maximum(safe, 0.0)


def whole(radius: ArrayLike) -> tuple[Floats, Floats]:
    """(value, error) for a radius that counts and must not lose its last bit: the next float, to be rounded down."""
    value = np.nextafter(np.asarray(radius, dtype=np.float64), math.inf)
    return value, np.zeros(value.shape)


def probabilities(name: str, values: ArrayLike) -> Floats:
    """The values as an array; raises `InvalidInput` where one is not in [0, 1]."""
    array = np.asarray(values, dtype=np.float64)
    if not bool(((array >= 0.0) & (array <= 1.0)).all()):  # NaN fails both comparisons
        raise InvalidInput(f"{name} must be a probability between 0 and 1, everywhere in the array")
    return array


def counts_of_both(selection_counts: ArrayLike, counts: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The class counts of selection and estimation; raises `InvalidInput` where they are none of the same classes."""
    selection, estimation = class_counts_of(selection_counts), class_counts_of(counts)
    if len(selection) != len(estimation):
        raise InvalidInput(f"{len(selection)} classes in the selection, {len(estimation)} in the estimation")
    return selection, estimation


def class_counts_of(values: ArrayLike) -> NDArray[np.int64]:
    """The values as counts (classes,); raises `InvalidInput` where they are none."""
    array = np.asarray(values)
    if array.ndim != 1 or len(array) < 2 or not np.issubdtype(array.dtype, np.integer):
        raise InvalidInput(f"class counts are integers of shape (classes,), not {array.dtype} of shape {array.shape}")
    if bool((array < 0).any()) or int(array.sum()) < 1:
        raise InvalidInput("class counts must not be negative, and must count at least one sample")
    return array.astype(np.int64)
