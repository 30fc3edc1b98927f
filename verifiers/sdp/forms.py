"""The verification problem over inputs and unstable neurons alone, in coordinates that run from -1 to 1.

Stable neurons are eliminated exactly (an active one is its affine form, an inactive one is 0), which leaves
v = (1, xi, zeta): the inputs x = center + radius * xi and the outputs z of the unstable neurons, z in [0, u]. Every
unstable pre-activation p_i and the margin are affine in v; a row of `Forms.rows` is such a form.

Rounding. The forms are products of weight matrices in floating point, so p_i(network) = rows_i . v + delta_i with
|delta_i| <= errors_i on the whole domain, for
    delta(W a + b) <= |W| delta(a) + gamma_(n + 4) (|W| size(a) + |b|) + the layer's own error,
where size(a) bounds sum |coefficient| |variable|, and one more gamma for the change of coordinates. The bound in
`certificate` pays for the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from verifiers.lp.program import chord, round_up
from verifiers.lp.safe_bound import UNIT, Vector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from verifiers.graph.rewriting.affine import AffineLayer
    from verifiers.lp.chain import Interval
    from verifiers.lp.input_set import InputSet

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Forms:
    """One image's problem with n inputs and m unstable neurons.

    rows:    (m, 1 + n + m) pre-activation of each unstable neuron as a form in v; errors: (m,) how far it may be off
    peak:    (m,) upper bound u of each output z = peak / 2 (1 + zeta)
    slope, offset: (m,) the chord z <= slope p + offset
    margins: (C, 1 + n + m) f_label - f_j as forms (zero at the label); margin_errors: (C,)
    inputs:  n
    layers:  number of unstable neurons of each ReLU layer
    """

    rows: Matrix
    errors: Vector
    peak: Vector
    slope: Vector
    offset: Vector
    margins: Matrix
    margin_errors: Vector
    inputs: int
    layers: tuple[int, ...]

    def behaviours(self, xi: Matrix) -> Matrix:
        """(count, 1 + n + m): v of the network at the inputs `xi` (count, n) in [-1, 1]."""
        v = np.zeros((len(xi), 1 + self.inputs + len(self.peak)))
        v[:, 0] = 1.0
        v[:, 1 : 1 + self.inputs] = xi
        first = 0
        for size in self.layers:
            block = slice(first, first + size)
            outputs = np.maximum(v @ self.rows[block].T, 0.0) / (self.peak[block] / 2) - 1.0
            v[:, 1 + self.inputs + first : 1 + self.inputs + first + size] = np.clip(outputs, -1.0, 1.0)
            first += size
        return v


@dataclass(frozen=True)
class _Activations:
    """A layer's outputs as forms in v with their errors (n,)."""

    forms: Matrix
    errors: Vector


def eliminate_stable(
    layers: Sequence[AffineLayer], inputs: InputSet, intervals: Sequence[Interval], label: int
) -> Forms:
    """The problem in the inputs and the unstable neurons. Takes boxes only (`inputs.center` must be None)."""
    unstable = [np.flatnonzero((low < 0) & (up > 0)) for low, up in intervals]
    width = 1 + inputs.size + sum(map(len, unstable))
    current, rows, errors, first = _inputs(inputs, width), [], [], 1 + inputs.size
    for layer, (low, up), chosen in zip(layers[:-1], intervals, unstable, strict=True):
        before = _affine(layer, current)
        rows.append(before.forms[chosen])
        errors.append(before.errors[chosen])
        forms, off = before.forms, before.errors.copy()
        forms[up <= 0] = 0.0
        forms[chosen] = 0.0
        off[(up <= 0) | (low < 0)] = 0.0
        columns = first + np.arange(len(chosen))
        # u / 2 is exact, so z = u / 2 + u / 2 zeta is exactly the segment [0, u]
        forms[chosen, 0] = forms[chosen, columns] = up[chosen] / 2
        current, first = _Activations(forms, off), first + len(chosen)
    logits = _affine(layers[-1], current)
    margins = logits.forms[label] - logits.forms
    size = np.abs(logits.forms).sum(axis=1)
    lower = np.concatenate([low[c] for (low, _), c in zip(intervals, unstable, strict=True)])
    upper = np.concatenate([up[c] for (_, up), c in zip(intervals, unstable, strict=True)])
    slope, offset = chord(lower, upper)
    return Forms(
        rows=np.concatenate(rows),
        errors=np.concatenate(errors),
        peak=upper,
        slope=slope,
        offset=offset,
        margins=margins,
        margin_errors=logits.errors + logits.errors[label] + 4 * UNIT * (size + size[label]),
        inputs=inputs.size,
        layers=tuple(map(len, unstable)),
    )


def _inputs(inputs: InputSet, width: int) -> _Activations:
    """x = center + radius * xi: the radius is rounded up so that [-1, 1] covers the box."""
    center = inputs.lower + (inputs.upper - inputs.lower) / 2
    reach = np.maximum(round_up(inputs.upper - center), round_up(center - inputs.lower))
    radius = np.where(inputs.upper > inputs.lower, reach, 0.0)
    forms = np.zeros((inputs.size, width))
    forms[:, 0] = center
    forms[np.arange(inputs.size), 1 + np.arange(inputs.size)] = radius
    return _Activations(forms, np.zeros(inputs.size))


def _affine(layer: AffineLayer, before: _Activations) -> _Activations:
    """W a + b with its rounding counted (see the file's head)."""
    magnitude = abs(layer.weight)
    size = np.abs(before.forms).sum(axis=1)
    terms = np.diff(layer.weight.indptr)
    forms = layer.weight @ before.forms
    forms[:, 0] += layer.bias
    rounding = 2.0 * UNIT * (terms + 8.0) * (magnitude @ size + np.abs(layer.bias))
    own = layer.weight_error * float(size.max(initial=0.0) + before.errors.max(initial=0.0)) + layer.bias_error
    # the factor pays for the rounding of this very line
    errors = (1.0 + 4.0 * UNIT * (terms + 4.0)) * (magnitude @ before.errors + rounding + own)
    return _Activations(np.asarray(forms), errors)
