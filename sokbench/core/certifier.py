"""Certifiers of randomized smoothing: closed forms from bounds on class probabilities to radii.

A certifier never samples. All certifiers of a noise share the class counts of one sampling pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from .method import MethodInfo

ABSTAIN: Final = -1
"""The prediction of a smoothed classifier that cannot tell its top class with the asked confidence."""


@dataclass(frozen=True)
class Certificate:
    """prediction: a class or `ABSTAIN`; radius: certified with confidence 1 - alpha in the certifier's norm (0 when
    abstaining); p: lower bound of the top class's probability; q: upper bound of every other class's."""

    prediction: int
    radius: float
    p: float
    q: float


class Certifier(ABC):
    """One closed form and the statistics that feed it."""

    info: ClassVar[MethodInfo]

    @abstractmethod
    def radius(self, p: ArrayLike, q: ArrayLike | None, noise: Any) -> NDArray[np.float64]:
        """Certified radius for a lower bound `p` of the top class and an upper bound `q` of every other class.

        Arrays broadcast; `q=None` means 1 - p. Never negative: 0 where nothing is certified.
        Raises `Unsupported` for a noise the certificate does not hold for.
        """

    @abstractmethod
    def certify(
        self, selection_counts: NDArray[np.int64], counts: NDArray[np.int64], noise: Any, alpha: float
    ) -> Certificate:
        """Certificate from class counts (C,) of two independent samples: one selects, the other estimates."""
