"""The triangle relaxation of a ReLU chain as a linear program, grown layer by layer.

Columns: the inputs x; for an active neuron its pre-activation p (= its output); for an unstable one p and its output
z; an inactive neuron is the constant 0 and has no column. Rows: p - W a = b for every neuron that has columns, and
for the unstable ones z - p >= 0 (with z >= 0 from the column) and the chord z - s p <= t.

Both sides of every row are finite: the second ones (z - p <= -l, z - s p >= -s u) follow from the others, but with
them every variable of the simplex method is boxed, so that a basis stays dual feasible when the cost changes. That
made the margins of a convolutional network 5 times faster.

What is covered: the matrix holds the weights themselves (float64 holds float32 exactly), so the network's values in
real arithmetic satisfy the equality rows exactly, or within the row's `error` where a layer's data are themselves
rounded (folded batch norm). The chord is valid for whatever float s comes out of the division, because t is the
larger of -s l and u - s u, both rounded up: a line above relu at l and u is above it on [l, u]. Column bounds are
outward-rounded bounds of the pre-activations. So the feasible set contains the behaviour of the network, exactly.

Ehlers, Formal Verification of Piece-Wise Linear Feed-Forward Neural Networks, ATVA 2017 (the triangle).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .safe_bound import UNIT, Bounds, Indices, Vector

if TYPE_CHECKING:
    from verifiers.graph.rewriting.affine import AffineLayer

    from .input_set import InputSet


def round_up(value: Vector) -> Vector:
    """The next float above: at least the exact result of the one rounded operation that gave `value`."""
    return np.nextafter(value, np.inf)


def round_down(value: Vector) -> Vector:
    return np.nextafter(value, -np.inf)


def chord(lower: Vector, upper: Vector) -> tuple[Vector, Vector]:
    """(s, t) with relu(p) <= s p + t for every real p in [lower, upper], for lower < 0 < upper."""
    slope = np.clip(upper / (upper - lower), 0.0, 1.0)
    at_lower = round_up(-slope * lower)
    at_upper = round_up(upper * round_up(1.0 - slope))
    return slope, np.maximum(at_lower, at_upper)


@dataclass(frozen=True)
class ReLUColumns:
    """Where one ReLU layer of n neurons stands in the program; -1 where it has no such column or row.

    pre, post:    (n,) columns of the pre-activation and of the output (equal for active neurons)
    floor, chord: (n,) rows z - p >= 0 and z - s p <= t of the unstable neurons
    lower, upper: (n,) pre-activation bounds the relaxation was built from
    """

    pre: Indices
    post: Indices
    floor: Indices
    chord: Indices
    lower: Vector
    upper: Vector

    @property
    def unstable(self) -> Indices:
        return np.flatnonzero(self.floor >= 0)


@dataclass(frozen=True)
class Objective:
    """An affine function of the program's columns: cost'v + constant, with |true cost - cost| <= cost_error and the
    constant at least `offset`."""

    cost: Vector
    cost_error: Vector
    offset: float


class TriangleProgram:
    """The growing program. `bounds` and `matrix()` describe it; `layers` says which neuron is which column."""

    def __init__(self, inputs: InputSet) -> None:
        self.inputs = inputs
        self.layers: list[ReLUColumns] = []
        self._blocks: list[sp.csr_array] = []
        columns, rows, block = inputs.columns(), inputs.rows(), inputs.matrix()
        self.bounds = Bounds(rows[0], rows[1], columns[0], columns[1])
        if block.shape[0]:
            self._blocks.append(block)

    @property
    def num_columns(self) -> int:
        return len(self.bounds.lower)

    @property
    def num_rows(self) -> int:
        return len(self.bounds.row_lower)

    def matrix(self) -> sp.csr_array:
        """All rows so far, (num_rows, num_columns)."""
        if not self._blocks:
            return sp.csr_array((0, self.num_columns))
        wide = [sp.csr_array((b.data, b.indices, b.indptr), (b.shape[0], self.num_columns)) for b in self._blocks]
        return sp.csr_array(sp.vstack(wide, format="csr"))

    def outputs(self) -> Indices:
        """(n,) columns that hold the last layer's outputs (the inputs before any layer); -1 for constant 0."""
        return self.layers[-1].post if self.layers else np.arange(self.inputs.size, dtype=np.int64)

    def neuron(self, layer: AffineLayer, index: int, sign: float) -> Objective:
        """sign * (pre-activation of neuron `index` of the next layer), as something to minimise; sign is 1 or -1."""
        return self._objective(layer, sign * _dense_row(layer.weight, index), sign * float(layer.bias[index]), 1, 0.0)

    def margin(self, layer: AffineLayer, label: int, other: int) -> Objective:
        """logit of `label` minus logit of `other`, where `layer` is the last of the network."""
        row = _dense_row(layer.weight, label) - _dense_row(layer.weight, other)
        offset = math.nextafter(float(layer.bias[label] - layer.bias[other]), -math.inf)
        return self._objective(layer, row, offset, 2, 2.0 * UNIT)

    def _objective(self, layer: AffineLayer, row: Vector, offset: float, outputs: int, relative: float) -> Objective:
        columns = self.outputs()
        cost = np.zeros(self.num_columns)
        cost[columns[columns >= 0]] = row[columns >= 0]
        error = outputs * self.layer_error(layer)
        return Objective(cost, relative * np.abs(cost), math.nextafter(offset - error, -math.inf) if error else offset)

    def add_layer(self, layer: AffineLayer, lower: Vector, upper: Vector) -> ReLUColumns:
        """Append p = W a + b and z = relu(p) with pre-activation bounds `lower`, `upper` (n,)."""
        kept = upper > 0
        unstable = kept & (lower < 0)
        pre = _numbered(kept, self.num_columns)
        width = self.num_columns + int(kept.sum())
        post = np.where(unstable, _numbered(unstable, width), pre)
        width += int(unstable.sum())
        slope, offset = chord(lower[unstable], upper[unstable])

        affine, affine_lower, affine_upper = self._affine_rows(layer, pre, width)
        floor_rows = _pairs(post[unstable], pre[unstable], -np.ones(len(slope)), width)
        chord_rows = _pairs(post[unstable], pre[unstable], -slope, width)
        first_floor = self.num_rows + affine.shape[0]
        added = ReLUColumns(
            pre=pre,
            post=post,
            floor=_numbered(unstable, first_floor),
            chord=_numbered(unstable, first_floor + len(slope)),
            lower=lower.copy(),
            upper=upper.copy(),
        )
        none = np.zeros(len(slope))
        old = self.bounds
        self.bounds = Bounds(
            np.concatenate([old.row_lower, affine_lower, none, round_down(-slope * upper[unstable])]),
            np.concatenate([old.row_upper, affine_upper, -lower[unstable], offset]),
            np.concatenate([old.lower, lower[kept], none]),
            np.concatenate([old.upper, upper[kept], upper[unstable]]),
        )
        self._blocks.append(sp.csr_array(sp.vstack([affine, floor_rows, chord_rows], format="csr")))
        self.layers.append(added)
        return added

    def _affine_rows(self, layer: AffineLayer, pre: Indices, width: int) -> tuple[sp.csr_array, Vector, Vector]:
        """Rows p - W a = b of the neurons that have columns."""
        kept, columns = np.flatnonzero(pre >= 0), self.outputs()
        weight = sp.coo_array(layer.weight[kept])
        known = columns[weight.col] >= 0
        rows = np.concatenate([np.arange(len(kept)), weight.row[known]])
        cols = np.concatenate([pre[kept], columns[weight.col[known]]])
        data = np.concatenate([np.ones(len(kept)), -weight.data[known]])
        block = sp.csr_array((data, (rows, cols)), shape=(len(kept), width))
        error = self.layer_error(layer)
        if not error:
            return block, layer.bias[kept], layer.bias[kept]
        return block, round_down(layer.bias[kept] - error), round_up(layer.bias[kept] + error)

    def layer_error(self, layer: AffineLayer) -> float:
        """How far the exact layer's values may lie from those of `layer`'s float64 data, rounded up."""
        columns = self.outputs()
        known = columns[columns >= 0]
        reach = np.maximum(np.abs(self.bounds.lower[known]), np.abs(self.bounds.upper[known])).max(initial=0.0)
        if layer.weight_error == 0.0 and layer.bias_error == 0.0:
            return 0.0
        return float(round_up(round_up(layer.weight_error * reach) + layer.bias_error))


def _dense_row(weight: sp.csr_array, index: int) -> Vector:
    row = np.zeros(weight.shape[1])
    part = slice(weight.indptr[index], weight.indptr[index + 1])
    row[weight.indices[part]] = weight.data[part]
    return row


def _numbered(mask: NDArray[np.bool_], start: int) -> Indices:
    """Consecutive numbers from `start` where `mask`, -1 elsewhere."""
    return np.where(mask, start + np.cumsum(mask) - 1, -1)


def _pairs(first: Indices, second: Indices, factor: Vector, width: int) -> sp.csr_array:
    """Rows v[first] + factor * v[second]."""
    count = len(first)
    rows = np.tile(np.arange(count), 2)
    data = np.concatenate([np.ones(count), factor])
    return sp.csr_array((data, (rows, np.concatenate([first, second]))), shape=(count, width))
