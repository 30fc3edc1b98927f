"""Lower slopes shared by a group of rows and raised by gradient ascent (FROWN, Lyu et al. 2020).

Layer by layer, with the layers below already done, as in `relaxed`; there each row has slopes of its own,
here the rows of a group have one set, chosen for the mean of their bounds. That takes memory and work for one set per
group, and gives looser bounds the larger the groups are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sokbench.core.deadline import Deadline

from .ascent import Schedule
from .relaxed import Relaxed, both_sides
from .sweep import Start, Trace, gradients


def raise_layers(state: Relaxed, group: int, schedule: Schedule, deadline: Deadline) -> None:
    """Improve the bounds of all unstable neurons, `group` of a layer at a time, until the deadline."""
    for relu, index, unstable in state.layers():
        lower, upper = (side.clone() for side in state.bounds[relu])
        flat_lower, flat_upper = lower.view(-1), upper.view(-1)
        for entries in torch.split(unstable, group):
            if deadline.expired() or not len(entries):
                break
            start = both_sides(state, index, entries)
            below, above = torch.arange(2 * len(entries)).chunk(2)
            low, minus_high = (_raised(state, start.take(rows), schedule, deadline) for rows in (below, above))
            flat_lower[entries] = torch.maximum(flat_lower[entries], low)
            flat_upper[entries] = torch.minimum(flat_upper[entries], -minus_high)
        state.replace(relu, lower, upper)


def _raised(state: Relaxed, start: Start, schedule: Schedule, deadline: Deadline) -> Tensor:
    """Lower bounds (R,) of the functions of `start` that hold in real arithmetic, with one set of slopes for all."""
    dtype = state.search.inputs.interval().lower.dtype
    relus = state.triangles(dtype)
    rough = start.rough(dtype)
    slopes = {index: relus.adaptive[index].clone() for index in state.below(start.index)}
    optimiser = torch.optim.Adam(list(slopes.values()), lr=schedule.rate, maximize=True)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimiser, schedule.decay)
    best, best_slopes = -torch.inf, slopes
    for iteration in range(schedule.iterations):
        trace = Trace()
        mean = float(state.search.lower(rough, relus, slopes, {}, trace).mean())
        if mean > best:
            best, best_slopes = mean, {index: values.clone() for index, values in slopes.items()}
        if iteration == schedule.iterations - 1 or deadline.expired():
            break
        steps, _ = gradients(state.search, rough, trace, relus, {})
        for index, values in slopes.items():
            values.grad = steps[index].mean(dim=0, keepdim=True) if index in steps else torch.zeros_like(values)
        optimiser.step()
        decay.step()
        for values in slopes.values():
            values.clamp_(0, 1)
    return state.certify(start, best_slopes, {})
