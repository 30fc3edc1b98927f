"""The big-M program with both solvers: a point where there is one, a claim of infeasibility where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from tests.verifiers.lp.nets import exact_minimum, forward, intervals, layer, random_chain
from verifiers.complete.search.big_m import search_big_m
from verifiers.lp.input_set import InputSet
from verifiers.lp.tighten import relax


def moved_chain(seed: int, shift: float, sizes=(3, 5, 4, 2)):
    """A chain whose exact margin on the returned box is `shift`."""
    rng = np.random.default_rng(seed)
    layers = random_chain(rng, sizes)
    center = rng.normal(size=sizes[0])
    inputs = InputSet(center - 0.5, center + 0.5)
    exact, _ = exact_minimum(layers, inputs, np.array([1.0, -1.0]))
    layers[-1] = layer(layers[-1].weight.toarray(), layers[-1].bias + np.array([shift - exact, 0.0]))
    return layers, inputs


@pytest.mark.parametrize("solver", ["highs", "gurobi", "auto"])
@pytest.mark.parametrize("seed", range(4))
def test_finds_a_point_or_claims_there_is_none(seed, solver):
    if solver == "gurobi":
        pytest.importorskip("gurobipy")
    for shift in (-0.1, 0.1):
        layers, inputs = moved_chain(seed, shift)
        relaxed = relax(layers, inputs, intervals(layers, inputs))
        claim = search_big_m(relaxed.program, relaxed.program.margin(layers[-1], 0, 1), solver, Deadline())
        assert claim.infeasible is (shift > 0)
        assert (claim.point is None) is (shift > 0)
        if claim.point is not None:
            logits = forward(layers, claim.point[None, :3])[0]
            assert logits[0] - logits[1] <= 1e-4


def has_full_licence() -> bool:
    """Whether Gurobi takes more than the 2000 columns of the licence that comes with the package."""
    gurobipy = pytest.importorskip("gurobipy")
    with gurobipy.Env(empty=True) as environment:
        environment.setParam("OutputFlag", 0)
        environment.start()
        with gurobipy.Model(env=environment) as model:
            model.addMVar(2001)
            try:
                model.optimize()
            except gurobipy.GurobiError:
                return False
    return True


def test_too_large_for_the_licence_is_unsupported_or_falls_back():
    if has_full_licence():
        pytest.skip("this Gurobi has a full licence")
    layers = [
        layer(np.ones((1200, 3)) * np.linspace(0.5, 1, 1200)[:, None], np.zeros(1200)),
        layer(np.zeros((2, 1200)), [1.0, 0.0]),
    ]
    inputs = InputSet(np.full(3, -1.0), np.full(3, 1.0))
    relaxed = relax(layers, inputs, intervals(layers, inputs))
    objective = relaxed.program.margin(layers[-1], 0, 1)
    with pytest.raises(Unsupported, match="licence"):
        search_big_m(relaxed.program, objective, "gurobi", Deadline.after(5.0))
    assert search_big_m(relaxed.program, objective, "auto", Deadline.after(20.0)).solver == "highs"
