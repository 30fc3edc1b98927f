"""Forward bound propagation: the values of a node as functions of the input, carried from node to node.

For one input of a batch, a node's values z are known as |z - V v - c| <= S v + r at every point, where the variables v
are the input coordinates x and, after them, noise symbols in [-1, 1] of their own. Two domains use that:
- `LinearBounds` (auto_LiRPA's forward mode, Xu et al. 2020, appendix A.1; SoK, equation 5): no symbols; a relaxation
  with different slopes makes the lower and the upper function differ, which S holds.
- `Zonotope` (DeepZ, Singh et al. 2018): S is zero; each relaxed neuron gets a symbol of its own, so that affine maps
  are exact. With l_p input sets this is a multi-norm zonotope.

Rounding. Let |z|+ = |V| |v| + |c| + |S| |v| + r, with |v| replaced by its largest entry. An affine map computed in
floating point errs by at most gamma_{n+R} |W| |z|+ + gamma |b| as a function of v (`verifiers.bounds.rounding`), a
relaxation with slopes <= s and offsets <= t by gamma_12 (s |z|+ + t), and the extremum over the variables by
gamma_{P+12} |z|+. All of it goes into r, entry by entry, so bounds hold in real arithmetic.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from verifiers.graph.graph import Graph
from verifiers.graph.ops import LinearOp, Shape, one_hot

from ..relaxations.nonlinear import Planes
from ..rounding import HUGE, gamma
from ..sets.inputs import UNDERFLOW, InputSet, Interval, Owner


@dataclass(frozen=True)
class Forms:
    """values: V (P, *shape); centre: c (*shape); spread: S (P, *shape), None for zero; reach: r (*shape).

    r may be negative where S v makes up for it.
    """

    values: Tensor
    centre: Tensor
    spread: Tensor | None
    reach: Tensor

    def weight(self, size: float) -> Tensor:
        """|z|+ (*shape) for variables of magnitude up to `size`."""
        total = self.values.abs().sum(dim=0)
        if self.spread is not None:
            total = total + self.spread.abs().sum(dim=0)
        weight = size * total + self.centre.abs() + self.reach.abs()
        return torch.where(weight > HUGE, torch.inf, weight)

    def padded(self, variables: int) -> Tensor:
        """V with rows of zeros for symbols that are younger than this node."""
        missing = variables - len(self.values)
        return torch.cat([self.values, self.values.new_zeros(missing, *self.centre.shape)]) if missing else self.values


@dataclass(frozen=True)
class Variables:
    """The variables of one input: its coordinates, in the set of batch entry `owner`, and symbols."""

    inputs: InputSet
    owner: Owner
    shape: Shape

    @property
    def size(self) -> float:
        """The largest magnitude of a variable."""
        return max(1.0, float(self.inputs.size()[self.owner]))

    def start(self) -> Forms:
        """The input itself."""
        values = one_hot(torch.arange(math.prod(self.shape)), self.shape, torch.float64)
        zero = values.new_zeros(self.shape)
        return Forms(values, zero, None, zero)

    def extreme(self, rows: Tensor, sign: float) -> Tensor:
        """min (sign -1) or max (+1) of rows (K, P) over the variables, as computed; (K,)."""
        count = math.prod(self.shape)
        at_input = rows[:, :count].reshape(1, 1, len(rows), *self.shape)
        found = self.inputs.concretize(at_input, rows.new_full((1, 1, 1), sign), self.owner)[0, 0]
        return found + sign * rows[:, count:].abs().sum(dim=1)


class Domain(ABC):
    """How a relaxation is expressed."""

    @abstractmethod
    def relaxed(
        self, planes: Planes, sources: list[Forms], intervals: list[Interval], variables: int, size: float
    ) -> Forms:
        """Forms of a nonlinear node between `planes`, from those of its inputs and their intervals (1, *shape).

        variables: how many there are by now; size: their largest magnitude.
        """


@final
class LinearBounds(Domain):
    """A lower and an upper linear function of the input."""

    def relaxed(
        self, planes: Planes, sources: list[Forms], intervals: list[Interval], variables: int, size: float
    ) -> Forms:
        """low z >= low V - |low| S and high z <= high V + |high| S, as centre and half distance."""
        centre, reach = _offsets(planes.lower_offset[0], planes.upper_offset[0])
        values = spread = None
        for (low, high), source in zip(planes.slopes, sources, strict=True):
            middle, half = (high + low) / 2, (high - low) / 2
            skew, gain = (high.abs() - low.abs()) / 2, (high.abs() + low.abs()) / 2
            part = middle * source.values
            apart = None if planes.parallel else half * source.values
            if source.spread is not None:
                part = part + skew * source.spread
                apart = gain * source.spread if apart is None else apart + gain * source.spread
            values = part if values is None else values + part
            if apart is not None:
                spread = apart if spread is None else spread + apart
            centre = centre + (middle * source.centre + skew * source.reach)[0]
            steep = torch.maximum(low.abs(), high.abs())[0]
            reach = reach + (half * source.centre + gain * source.reach)[0]
            reach = reach + gamma(12) * steep * source.weight(size)
        assert values is not None
        return Forms(values, centre, spread, reach)


@final
class Zonotope(Domain):
    """Noise symbols: what lies between two parallel planes is a symbol of the neuron."""

    def relaxed(
        self, planes: Planes, sources: list[Forms], intervals: list[Interval], variables: int, size: float
    ) -> Forms:
        """Planes that are not parallel are made so with the mean of their slopes, at the cost of their offsets."""
        below, above = planes.lower_offset[0], planes.upper_offset[0]
        values: Tensor | None = None
        lost = torch.zeros_like(below)
        centre = torch.zeros_like(below)
        for (low, high), source, (lower, upper) in zip(planes.slopes, sources, intervals, strict=True):
            slope = ((high + low) / 2)[0]
            if not planes.parallel:
                middle, half = ((upper + lower) / 2)[0], ((upper - lower) / 2)[0]
                over, under = high[0] - slope, low[0] - slope
                above = above + over * middle + over.abs() * half
                below = below + under * middle - under.abs() * half
                tilt = over.abs() + under.abs()
                lost = lost + gamma(12) * (tilt * (middle.abs() + half) + above.abs() + below.abs())
            part = slope * source.padded(variables)
            values = part if values is None else values + part
            centre = centre + slope * source.centre
            lost = lost + slope.abs() * source.reach + gamma(12) * slope.abs() * source.weight(size)
        assert values is not None
        offset, half = _offsets(below, above)
        fresh = half > UNDERFLOW
        lost = lost + torch.where(fresh, 0.0, half)
        places = fresh.flatten().nonzero().squeeze(1)
        symbols = one_hot(places, half.shape, half.dtype) * torch.where(fresh, half, 0.0)
        return Forms(torch.cat([values, symbols]), centre + offset, None, lost)


def _offsets(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and half distance of two offsets, the latter rounded up."""
    return (high + low) / 2, (high - low) / 2 + gamma(4) * (high.abs() + low.abs())


def affine(forms: Forms, graph: Graph, index: int, size: float) -> Forms:
    """Forms of affine node `index` from those of its input."""
    op, magnitude = graph.nodes[index].op, graph.magnitudes[index]
    if not isinstance(op, LinearOp) or magnitude is None:
        raise TypeError(f"node {index} is {op.name}, not affine")
    error = gamma(2 * (op.terms + op.rounded) + 8)
    reach = magnitude.linear((forms.reach + error * forms.weight(size))[None])[0] + UNDERFLOW
    if op.offset is not None:
        reach = reach + error * op.offset.abs()
    spread = None if forms.spread is None else magnitude.linear(forms.spread)
    return Forms(op.linear(forms.values), op.forward(forms.centre[None])[0], spread, reach)


def added(a: Forms, b: Forms, size: float) -> Forms:
    """Forms of the sum of two nodes."""
    variables = max(len(a.values), len(b.values))
    spreads = [forms.spread for forms in (a, b) if forms.spread is not None]
    lost = gamma(4) * (a.weight(size) + b.weight(size))
    return Forms(
        a.padded(variables) + b.padded(variables),
        a.centre + b.centre,
        sum(spreads[1:], spreads[0]) if spreads else None,
        a.reach + b.reach + lost,
    )


def ranges(forms: Forms, wanted: Tensor, variables: Variables, at_once: int) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds (K,) of the entries marked in `wanted` (*shape), at most `at_once` at a time."""
    weight = forms.weight(variables.size)
    slack = forms.reach + gamma(len(forms.values) + 12) * weight + UNDERFLOW
    marked = wanted.flatten().nonzero().squeeze(1)
    found: tuple[list[Tensor], list[Tensor]] = [], []
    for part in torch.split(marked, at_once):
        rows = forms.values.flatten(1)[:, part].T
        apart = 0.0 if forms.spread is None else forms.spread.flatten(1)[:, part].T
        centre, reach = forms.centre.flatten()[part], slack.flatten()[part]
        found[0].append(variables.extreme(rows - apart, -1.0) + centre - reach)
        found[1].append(variables.extreme(rows + apart, 1.0) + centre + reach)
    return torch.cat(found[0]), torch.cat(found[1])


def least(forms: Forms, rows: Tensor, constants: Tensor, variables: Variables) -> Tensor:
    """Lower bounds (K,) of rows z + constants for rows (K, *shape), constants (K,)."""
    rows = rows.flatten(1)
    magnitude, flat = rows.abs(), forms.values.flatten(1)
    weight = magnitude @ forms.weight(variables.size).flatten() + constants.abs()
    slack = magnitude @ forms.reach.flatten() + gamma(2 * rows.shape[1] + len(flat) + 20) * weight + UNDERFLOW
    apart = 0.0 if forms.spread is None else magnitude @ forms.spread.flatten(1).T
    return variables.extreme(rows @ flat.T - apart, -1.0) + rows @ forms.centre.flatten() + constants - slack
