"""Projected ascent (Adam) of bounds in their slopes and split multipliers, all rows at once and each for itself.

The best bound of every row is kept with the parameters that gave it, and rows that are done leave the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline

from .sweep import Relus, Start, Sweep, Trace, Triangles, gradients

Done = Callable[[Tensor, Tensor], Tensor]
"""(bounds (P,), which rows (P,)) -> mask of the rows that need no more work."""

# shorter memories than Adam's usual 0.9 and 0.999: with 20 steps they came four times as close to the optimum
_FIRST, _SECOND, _FLOOR = 0.5, 0.99, 1e-12


@dataclass(frozen=True)
class Schedule:
    """iterations: passes, the first of which only evaluates; rate: first step of a slope; gamma_rate: of a multiplier,
    relative to the mean size of the row's entries at its layer. Both shrink by `decay` after every pass."""

    iterations: int = 20
    rate: float = 0.5
    gamma_rate: float = 0.5

    @property
    def decay(self) -> float:
        """Of the rates, per iteration: to 2 / iterations of the first, so that longer ascents end closer."""
        return math.pow(min(1.0, 2 / self.iterations), 1 / max(1, self.iterations - 1))


@dataclass
class Ascent:
    """Parameters of R rows on their way up. best: (R,) with the slopes and gammas that gave it."""

    slopes: Relus
    gammas: Relus
    best: Tensor
    best_slopes: Relus = field(default_factory=dict)
    best_gammas: Relus = field(default_factory=dict)


@dataclass
class Moments:
    """Adam's, of one parameter, a row for each bound."""

    first: Tensor
    second: Tensor

    @staticmethod
    def like(gradient: Tensor) -> Moments:
        return Moments(torch.zeros_like(gradient), torch.zeros_like(gradient))

    def take(self, rows: Tensor) -> Moments:
        return Moments(self.first[rows], self.second[rows])

    def step(self, gradient: Tensor, iteration: int) -> Tensor:
        """Adam's normalised direction (Kingma and Ba, 2015, algorithm 1)."""
        self.first.mul_(_FIRST).add_(gradient, alpha=1 - _FIRST)
        self.second.mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
        scale = (1 - _SECOND**iteration) ** 0.5 / (1 - _FIRST**iteration)
        return self.first.mul(scale).div_(self.second.sqrt().add_(_FLOOR))


def ascend(
    sweep: Sweep,
    start: Start,
    relus: Triangles,
    slopes: Relus,
    gammas: Relus,
    signs: Relus,
    schedule: Schedule,
    done: Done,
    deadline: Deadline,
) -> Ascent:
    """Raise the bounds of `start`.

    slopes: where to begin, (R, *shape); gammas, signs: of the split ReLU layers only, signs (R, *shape) are +1 where
    z <= 0 was fixed, -1 for z >= 0, 0 elsewhere.
    Stops, without an error, at the deadline.
    """
    total = len(start.rows)
    live = torch.arange(total)
    slopes, gammas = dict(slopes), dict(gammas)
    result = Ascent({}, {}, start.constants.new_full((total,), -torch.inf))
    result.best_slopes = {index: values.expand(total, *values.shape[1:]).clone() for index, values in slopes.items()}
    result.best_gammas = {index: values.clone() for index, values in gammas.items()}
    moments: dict[tuple[int, bool], Moments] = {}
    scales: dict[int, Tensor] = {}
    rate, gamma_rate = schedule.rate, schedule.gamma_rate
    for iteration in range(1, schedule.iterations + 1):
        trace = Trace()
        bounds = sweep.lower(start, relus, slopes, gammas, trace)
        _keep(result, live, bounds, slopes, gammas)
        finished = done(bounds, live)
        if iteration == schedule.iterations or bool(finished.all()) or deadline.expired():
            break
        slope_steps, gamma_steps = gradients(sweep, start, trace, relus, signs if gammas else {})
        if not scales and gammas:
            scales = {index: _row_scale(trace, index) for index in gammas}
        with torch.no_grad():
            for index, gradient in slope_steps.items():
                key = (index, True)
                if key not in moments:
                    moments[key] = Moments.like(gradient)
                    slopes[index] = slopes[index].expand_as(gradient).clone()
                slopes[index].add_(moments[key].step(gradient, iteration), alpha=rate).clamp_(0, 1)
            for index in gammas.keys() & gamma_steps.keys():
                key, sign = (index, False), signs[index]
                gradient = gamma_steps[index] * sign.abs()
                if key not in moments:
                    moments[key] = Moments.like(gradient)
                    gammas[index] = gammas[index].clone()
                moved = gammas[index] + moments[key].step(gradient, iteration) * (gamma_rate * scales[index])
                gammas[index] = (moved * sign).clamp_(min=0) * sign
        rate, gamma_rate = rate * schedule.decay, gamma_rate * schedule.decay
        if 4 * int(finished.sum()) >= len(live):
            rows = (~finished).nonzero().squeeze(1)
            live, start, relus = live[rows], start.take(rows), relus.take(rows)
            slopes = {index: values[rows] if len(values) > 1 else values for index, values in slopes.items()}
            gammas = {index: values[rows] for index, values in gammas.items()}
            signs = {index: values[rows] for index, values in signs.items()}
            scales = {index: values[rows] for index, values in scales.items()}
            moments = {key: kept.take(rows) for key, kept in moments.items()}
    return result


def _row_scale(trace: Trace, index: int) -> Tensor:
    """Mean size (R, 1, ...) of the row entries at the input of ReLU `index`."""
    entries = (trace.rows[index] * trace.slopes[index][0]).abs()
    mean = entries.flatten(1).mean(dim=1)
    return mean.reshape(-1, *(1 for _ in entries.shape[1:]))


def _keep(result: Ascent, live: Tensor, bounds: Tensor, slopes: Relus, gammas: Relus) -> None:
    """Remember the rows whose bound improved."""
    better = (bounds > result.best[live]).nonzero().squeeze(1)
    if not len(better):
        return
    places = live[better]
    result.best[places] = bounds[better]
    for index, values in slopes.items():
        result.best_slopes[index][places] = values[better] if len(values) > 1 else values
    for index, values in gammas.items():
        result.best_gammas[index][places] = values[better]
