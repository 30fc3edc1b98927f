"""Domains in which every neuron has a fixed phase: there the network is affine, and a linear program in the input
alone finds the best multipliers of the phases, or a point of the network.

Nothing of the solver is trusted: its duals become the gammas of an ordinary bound with rounding, its point a candidate
for a witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from verifiers.bounds.optimized.relaxed import Relaxed, both_sides
from verifiers.bounds.optimized.sweep import Start, Triangles

from .domains import Columns

if TYPE_CHECKING:
    from sokbench.core.deadline import Deadline
    from verifiers.lp.input_set import InputSet

Vector = NDArray[np.float64]

_RAY_SCALES = (1.0, 1e2, 1e4, 1e6)


@dataclass(frozen=True)
class LeafAnswer:
    """gammas: (P, width) candidates to be tried, each gives a sound bound; point: (n,) of the input, or None."""

    gammas: Tensor
    point: Vector | None


def solve_leaf(
    state: Relaxed,
    columns: Columns,
    start: Start,
    relus: Triangles,
    phase: Tensor,
    inputs: InputSet,
    deadline: Deadline,
) -> LeafAnswer:
    """Minimise the one row of `start` over the inputs of a domain `phase` (width,) without free neurons.

    relus: the domain's lines, in float64.
    """
    cost, _ = _affine(state, start, relus)
    blocks, limits, places = [], [], []
    for index, entries in columns.entries.items():
        fixed = columns.part(index, phase[None])[0].nonzero().squeeze(1)
        if not len(fixed):
            continue
        both = both_sides(state, state.graph.nodes[index].inputs[0], entries[fixed])
        rows, constants = _affine(state, both.take(torch.arange(len(fixed))), relus)
        blocks.append(rows)
        limits.append(-constants)
        places.append(columns.first[index] + fixed)
    if not blocks:
        return LeafAnswer(torch.zeros(1, columns.width, dtype=torch.float64), None)
    place, limit = torch.cat(places), np.concatenate(limits)
    below = phase[place].numpy() > 0
    row_lower, row_upper = np.where(below, -np.inf, limit), np.where(below, limit, np.inf)
    dual, ray, point = _minimise(cost[0], np.concatenate(blocks), row_lower, row_upper, inputs, deadline)
    scale = float(np.abs(cost).max(initial=1.0))
    candidates = [-dual] + [
        sign * size * scale * ray for sign in (1.0, -1.0) for size in _RAY_SCALES if ray is not None
    ]
    gammas = torch.zeros(len(candidates), columns.width, dtype=torch.float64)
    gammas[:, place] = torch.tensor(np.stack(candidates))
    sign = phase.double()
    return LeafAnswer((gammas * sign).clamp(min=0) * sign, point)


def _affine(state: Relaxed, start: Start, relus: Triangles) -> tuple[Vector, Vector]:
    """(rows (R, n) of the input, constants (R,)) where every ReLU is its chord."""
    rows, constants, _ = state.exact.pull(start, relus, relus.chord, {})
    count = len(constants)
    size = state.graph.nodes[0].shape
    flat = torch.zeros(count, int(np.prod(size)), dtype=torch.float64) if rows is None else rows.reshape(count, -1)
    return flat.numpy(), constants.expand(count).numpy()


def _minimise(
    cost: Vector, rows: Vector, row_lower: Vector, row_upper: Vector, inputs: InputSet, deadline: Deadline
) -> tuple[Vector, Vector | None, Vector | None]:
    """(row duals of `rows`, a Farkas ray on them or None, the solver's point or None)."""
    import highspy

    highs: Any = highspy.Highs()
    for option, value in {"output_flag": False, "threads": 1, "presolve": "off", "solver": "simplex"}.items():
        highs.setOptionValue(option, value)
    highs.setOptionValue("time_limit", min(deadline.remaining(), 1e9))
    lower, upper = inputs.columns()
    extra = len(lower) - inputs.size
    none = np.zeros(0, dtype=np.int32)
    wide = np.concatenate([cost, np.zeros(extra)])
    highs.addCols(len(lower), wide, lower, upper, 0, np.zeros(len(lower), dtype=np.int32), none, np.zeros(0))
    matrix = sp.csr_array(np.hstack([rows, np.zeros((len(rows), extra))]))
    set_lower, set_upper = inputs.rows()
    for block, low, up in ((matrix, row_lower, row_upper), (inputs.matrix(), set_lower, set_upper)):
        starts, index = block.indptr[:-1].astype(np.int32), block.indices.astype(np.int32)
        highs.addRows(len(low), low, up, block.nnz, starts, index, block.data)
    highs.run()
    solution = highs.getSolution()
    dual = np.asarray(solution.row_dual)
    dual = dual[: len(rows)] if len(dual) >= len(rows) else np.zeros(len(rows))
    ray = None
    if highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        _, exists, found = highs.getDualRay()
        ray = np.asarray(found)[: len(rows)] if exists else None
    point = np.asarray(solution.col_value)
    return dual, ray, point[: inputs.size] if len(point) >= inputs.size else None
