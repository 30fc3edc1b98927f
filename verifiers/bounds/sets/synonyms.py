"""Sentences in which some words may be replaced by synonyms: a budget of words, each with its candidates.

The sets of Xu et al. 2020 (theorem 2, appendix B.2): S(w_t) for the word at position t, at most `budget` positions
changed. Their dynamic programme g(i, j), the best value with j of the first i words replaced, is the sum of the
`budget` largest gains, because the positions do not depend on each other and each costs 1.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput

from .inputs import InputSet, Interval, Owner, pair
from .sparse import largest, per_input_budget


@final
class Synonyms(InputSet):
    """x' that has at most `budget` positions whose vector is another candidate's: exact.

    x:          embedded sentences (B, positions, features)
    candidates: (B, positions, most, features); allowed: (B, positions, most), which of them exist
    budget:     how many positions may change: a number, or one per input (B,)
    Costs, per row, one product with all candidates (B x positions x most x features). The hull is per coordinate, over
    all candidates of a position.
    Raises `InvalidInput` for shapes that do not fit, candidates that are not finite, a negative budget.
    """

    def __init__(self, x: Tensor, candidates: Tensor, allowed: Tensor, budget: int | Tensor) -> None:
        batch, positions, features = x.shape
        if candidates.shape[:2] != (batch, positions) or candidates.shape[3:] != (features,):
            raise InvalidInput(f"candidates of shape {tuple(candidates.shape)} for sentences {tuple(x.shape)}")
        if allowed.shape != candidates.shape[:3]:
            raise InvalidInput(f"allowed has shape {tuple(allowed.shape)}, not {tuple(candidates.shape[:3])}")
        if not bool(candidates[allowed].isfinite().all()):
            raise InvalidInput("the candidates contain NaN or infinity")
        self._x, self._budget = x, per_input_budget(budget, x)
        # a candidate that does not exist is the word itself
        self._words = torch.where(allowed[..., None], candidates, x[:, :, None])
        self._moves = self._words - x[:, :, None]

    def interval(self) -> Interval:
        free = (self._budget > 0).reshape(-1, 1, 1)
        low, high = torch.minimum(self._words.amin(dim=2), self._x), torch.maximum(self._words.amax(dim=2), self._x)
        return Interval(torch.where(free, low, self._x), torch.where(free, high, self._x))

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        gains = sign[..., None, None] * torch.einsum("sgktd,gtmd->sgktm", rows, self._moves[owner])
        return pair(rows, self._x[owner]) + sign * largest(gains.amax(dim=4).clamp(min=0), self._budget[owner])

    def size(self) -> Tensor:
        return self._x.abs().flatten(1).amax(dim=1) + self._moves.abs().flatten(1).amax(dim=1)

    @property
    def is_box(self) -> bool:
        return False
