"""When a sampling pass has seen enough: once each radius that was asked for is decided, whatever certifier it is of.

Every question "does this certifier reach this radius?" is whether p lies above a threshold, so the questions of all
certifiers of a noise are a list of thresholds, decided together by one test of `AlphaSpending`. A pass stops after the
first stage whose own look decides all of them: what was seen at earlier stages plays no part, so that a pass that is
cut off and goes on stops where it would have stopped. At any stage, bounds at the level of that stage are right, all
stages together, with confidence 1 - alpha: a certificate from a stopped pass is an ordinary one at that level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np

from sokbench.core.errors import InvalidInput

from .deciding import thresholds_of
from .sequential import AlphaSpending, geometric_stages

if TYPE_CHECKING:
    from sokbench.core.certifier import Certifier

    from .sequential import Floats


@final
@dataclass(frozen=True)
class Stopping:
    """test: its stages end at n; thresholds: of p, in any order."""

    test: AlphaSpending
    thresholds: Floats

    def decided(self, successes: int, stage: int) -> bool:
        """Whether `successes` after stage number `stage` leave no threshold open."""
        counts = np.array(successes)
        known = self.test.above(counts, stage, self.thresholds) | self.test.below(counts, stage, self.thresholds)
        return bool(known.all())


def stopping(targets: Sequence[tuple[Certifier, Sequence[float]]], noise: Any, n: int, alpha: float) -> Stopping:
    """The rule for certifiers with the radii asked of them. A certifier that is not for this noise asks nothing."""
    thresholds = [thresholds_of(certifier, noise, radii) for certifier, radii in targets]
    return Stopping(AlphaSpending(geometric_stages(n), alpha, alpha), np.concatenate(thresholds))


def level_of(drawn: int, n: int, alpha: float) -> float:
    """The level at which bounds hold that are computed from a pass over at most n samples that stopped after `drawn`.

    Raises `InvalidInput` if that is no stage.
    """
    stages = geometric_stages(n)
    if drawn not in stages:
        raise InvalidInput(f"a pass over {n} samples does not stop after {drawn}")
    return AlphaSpending(stages, alpha, alpha).level(stages.index(drawn), alpha)
