"""The big-M program of a ReLU network for a mixed-integer solver: a search for counterexamples, and no proofs.

Each unstable neuron gets a binary d with z <= p - l (1 - d) and z <= u d beside the rows of the triangle program
(Tjeng et al., ICLR 2019, Eq. 6). The question is put as a feasibility problem: is there a point with objective <= 0?
A solver's "infeasible" holds up to its tolerances only, so it is reported as a claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from sokbench.core.errors import Unsupported
from verifiers.lp.safe_bound import Bounds, Vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sokbench.core.deadline import Deadline
    from verifiers.lp.program import Objective, TriangleProgram

Solver = Literal["auto", "highs", "gurobi"]
_SHARE = 0.5  # HiGHS looks at its clock too rarely: told 5 s on a program of 6,900 rows, it took 8.2
_TOO_LARGE_FOR_LICENCE, _NO_LICENCE = 10010, 10009


@dataclass(frozen=True)
class Claim:
    """What a mixed-integer solver said. point: (columns,) a point with objective <= 0 up to its tolerances, or None;
    infeasible: it claims that there is none; solver: which one it was."""

    point: Vector | None
    infeasible: bool
    solver: str


@dataclass(frozen=True)
class _BigM:
    """Rows and columns of the program, binaries last."""

    matrix: sp.csr_array
    bounds: Bounds
    cost: Vector
    binaries: int


def search_big_m(program: TriangleProgram, objective: Objective, solver: Solver, deadline: Deadline) -> Claim:
    """Let a mixed-integer solver look for a point of the network with objective <= 0.

    solver: "gurobi", "highs", or "auto" for Gurobi where it is installed and its licence takes the problem (the
    bundled one takes 2000 rows and columns) and HiGHS otherwise. Raises `Unsupported` if "gurobi" was asked for and
    cannot do it.
    """
    model = _encode(program, objective)
    if solver == "highs":
        return _with_highs(model, deadline)
    try:
        return _with_gurobi(model, deadline)
    except Unsupported:
        if solver == "gurobi":
            raise
        return _with_highs(model, deadline)


def search_witness(
    program: TriangleProgram,
    objective: Objective,
    solver: Solver,
    witness_at: Callable[[Vector], Tensor | None],
    deadline: Deadline,
) -> Tensor | None:
    """What `witness_at` makes of the input (n,) that the solver finds in a part of the time; None if nothing."""
    claim = search_big_m(program, objective, solver, deadline.share(_SHARE))
    return None if claim.point is None else witness_at(claim.point[: program.inputs.size])


def _encode(program: TriangleProgram, objective: Objective) -> _BigM:
    width = program.num_columns
    blocks, limits = [], []
    count = sum(len(columns.unstable) for columns in program.layers)
    first = width
    for columns in program.layers:
        neurons = columns.unstable
        lower, upper = columns.lower[neurons], columns.upper[neurons]
        rows = np.arange(len(neurons))
        one, binary = np.ones(len(neurons)), first + rows
        shape = (len(neurons), width + count)
        pre, post = columns.pre[neurons], columns.post[neurons]
        triples = (np.concatenate([one, -one, -lower]), (np.tile(rows, 3), np.concatenate([post, pre, binary])))
        pairs = (np.concatenate([one, -upper]), (np.tile(rows, 2), np.concatenate([post, binary])))
        blocks += [sp.csr_array(triples, shape=shape), sp.csr_array(pairs, shape=shape)]
        limits += [-lower, np.zeros(len(neurons))]
        first += len(neurons)
    base = program.matrix()
    wide = sp.csr_array((base.data, base.indices, base.indptr), shape=(base.shape[0], width + count))
    cost = np.concatenate([objective.cost, np.zeros(count)])
    old, limit = program.bounds, np.concatenate([*limits, [-objective.offset]])
    bounds = Bounds(
        np.concatenate([old.row_lower, np.full(len(limit), -np.inf)]),
        np.concatenate([old.row_upper, limit]),
        np.concatenate([old.lower, np.zeros(count)]),
        np.concatenate([old.upper, np.ones(count)]),
    )
    matrix = sp.csr_array(sp.vstack([wide, *blocks, sp.csr_array(cost[None])], format="csr"))
    return _BigM(matrix, bounds, cost, count)


def _with_highs(model: _BigM, deadline: Deadline) -> Claim:
    import highspy

    highs: Any = highspy.Highs()
    options: dict[str, Any] = {"output_flag": False, "threads": 1, "mip_max_improving_sols": 1}
    for option, value in options.items():
        highs.setOptionValue(option, value)
    highs.setOptionValue("time_limit", min(deadline.remaining(), 1e9))
    bounds, matrix, empty = model.bounds, model.matrix, np.zeros(0, dtype=np.int32)
    size = len(bounds.lower)
    starts = np.zeros(size, dtype=np.int32)
    highs.addCols(size, model.cost, bounds.lower, bounds.upper, 0, starts, empty, np.zeros(0))
    indptr, indices = matrix.indptr[:-1].astype(np.int32), matrix.indices.astype(np.int32)
    highs.addRows(matrix.shape[0], bounds.row_lower, bounds.row_upper, matrix.nnz, indptr, indices, matrix.data)
    binaries = np.arange(size - model.binaries, size, dtype=np.int32)
    integer = np.full(model.binaries, highspy.HighsVarType.kInteger)
    highs.changeColsIntegrality(model.binaries, binaries, integer)
    highs.run()
    point = np.asarray(highs.getSolution().col_value)
    has_point = highs.getInfo().primal_solution_status == int(highspy.SolutionStatus.kSolutionStatusFeasible)
    infeasible = highs.getModelStatus() == highspy.HighsModelStatus.kInfeasible
    return Claim(point if has_point else None, infeasible, "highs")


def _with_gurobi(model: _BigM, deadline: Deadline) -> Claim:
    try:
        import gurobipy
    except ImportError:
        raise Unsupported("Gurobi is not installed: pip install gurobipy") from None
    bounds, matrix = model.bounds, model.matrix
    try:
        with gurobipy.Env(empty=True) as environment:
            for option, value in {"OutputFlag": 0, "Threads": 1, "SolutionLimit": 1}.items():
                environment.setParam(option, value)
            environment.setParam("TimeLimit", min(deadline.remaining(), 1e9))
            environment.start()
            with gurobipy.Model(env=environment) as gurobi:
                kinds = np.array(["C"] * (len(bounds.lower) - model.binaries) + ["B"] * model.binaries)
                v = gurobi.addMVar(len(bounds.lower), lb=bounds.lower, ub=bounds.upper, obj=model.cost, vtype=kinds)
                upper, lower = np.isfinite(bounds.row_upper), np.isfinite(bounds.row_lower)
                equal = upper & lower & (bounds.row_lower == bounds.row_upper)
                gurobi.addConstr(matrix[equal] @ v == bounds.row_upper[equal])
                gurobi.addConstr(matrix[upper & ~equal] @ v <= bounds.row_upper[upper & ~equal])
                gurobi.addConstr(matrix[lower & ~equal] @ v >= bounds.row_lower[lower & ~equal])
                gurobi.optimize()
                infeasible = gurobi.Status == gurobipy.GRB.INFEASIBLE
                return Claim(np.asarray(v.X) if gurobi.SolCount else None, infeasible, "gurobi")
    except gurobipy.GurobiError as error:
        if error.errno in (_TOO_LARGE_FOR_LICENCE, _NO_LICENCE):
            raise Unsupported(f"Gurobi's licence does not take this problem: {error}") from None
        raise
