"""Tiny ReLU chains and their exact minima by brute force, shared by the tests of solver methods."""

from __future__ import annotations

import itertools

import highspy
import numpy as np
import scipy.sparse as sp
import torch

from sokbench.networks import load_network
from verifiers.graph.rewriting.affine import AffineLayer
from verifiers.lp.input_set import InputSet


def layer(weight, bias) -> AffineLayer:
    weight = np.asarray(weight, dtype=np.float64)
    return AffineLayer(sp.csr_array(weight), np.asarray(bias, dtype=np.float64), (len(weight),))


def random_chain(rng: np.random.Generator, sizes: tuple[int, ...], bias_scale: float = 0.5) -> list[AffineLayer]:
    """Weights exactly representable in float32, so that the torch module of the chain is the same function."""
    pairs = itertools.pairwise(sizes)
    return [
        layer(
            rng.normal(size=(after, before)).astype(np.float32),
            (bias_scale * rng.normal(size=after)).astype(np.float32),
        )
        for before, after in pairs
    ]


def network_of(layers: list[AffineLayer]):
    """The chain as a `Network` with float32 weights."""
    modules: list[torch.nn.Module] = []
    for one in layers:
        linear = torch.nn.Linear(one.weight.shape[1], one.weight.shape[0])
        linear.weight.data = torch.tensor(one.weight.toarray(), dtype=torch.float32)
        linear.bias.data = torch.tensor(one.bias, dtype=torch.float32)
        modules += [linear, torch.nn.ReLU()]
    return load_network(torch.nn.Sequential(*modules[:-1]), (layers[0].weight.shape[1],))


def forward(layers: list[AffineLayer], points: np.ndarray) -> np.ndarray:
    """Logits (k, C) of points (k, n)."""
    values = points
    for depth, one in enumerate(layers):
        values = values @ one.weight.toarray().T + one.bias
        values = np.maximum(values, 0) if depth < len(layers) - 1 else values
    return values


def intervals(layers: list[AffineLayer], inputs: InputSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Interval bounds of every ReLU's input, widened by far more than their rounding."""
    lower, upper, found = inputs.lower, inputs.upper, []
    for one in layers[:-1]:
        center, radius = (lower + upper) / 2, (upper - lower) / 2
        middle = one.weight @ center + one.bias
        spread = abs(one.weight) @ radius + 1e-12 * (abs(one.weight) @ np.abs(center) + np.abs(one.bias) + 1)
        found.append((middle - spread, middle + spread))
        lower, upper = np.maximum(middle - spread, 0), np.maximum(middle + spread, 0)
    return found


def exact_minimum(layers: list[AffineLayer], inputs: InputSet, row: np.ndarray) -> tuple[float, np.ndarray]:
    """(minimum, point) of row @ logits over the inputs, by a linear program per activation pattern."""
    best, where = np.inf, inputs.lower
    equal = inputs.matrix()
    spans = intervals(layers, inputs)
    choices = [
        [(1.0,) if low >= 0 else (0.0,) if up <= 0 else (0.0, 1.0) for low, up in zip(*span, strict=True)]
        for span in spans
    ]
    for pattern in itertools.product(*(itertools.product(*options) for options in choices)):
        minimum, point = _pattern_minimum(layers, inputs, equal, pattern, row)
        if minimum < best:
            best, where = minimum, point
    return best, where


def _pattern_minimum(layers, inputs: InputSet, matrix, pattern, row: np.ndarray) -> tuple[float, np.ndarray]:
    weight, bias = np.eye(inputs.size), np.zeros(inputs.size)
    sides, limits = [], []
    for one, active in zip(layers, [*pattern, None], strict=True):
        weight, bias = one.weight @ weight, one.weight @ bias + one.bias
        if active is not None:
            sign = np.where(np.asarray(active) > 0, -1.0, 1.0)
            sides.append(sign[:, None] * weight)
            limits.append(-sign * bias)
            weight, bias = weight * np.asarray(active)[:, None], bias * np.asarray(active)
    lower, upper = inputs.columns()
    extra = len(lower) - inputs.size
    cost = np.concatenate([row @ weight, np.zeros(extra)])
    row_lower, row_upper = inputs.rows()
    blocks = [matrix.toarray()] + [np.hstack([side, np.zeros((len(side), extra))]) for side in sides]
    limit = np.concatenate([row_upper, *limits])
    low = np.concatenate([row_lower, np.full(len(limit) - len(row_lower), -np.inf)])
    minimum, point = _minimize(cost, np.vstack(blocks), low, limit, lower, upper)
    return minimum + row @ bias, point[: inputs.size]


def _minimize(cost, rows, row_lower, row_upper, lower, upper) -> tuple[float, np.ndarray]:
    """A cold linear program in HiGHS (scipy's own interface costs ten times the solve at this size)."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    none = np.zeros(0, dtype=np.int32)
    highs.addCols(len(cost), cost, lower, upper, 0, np.zeros(len(cost), dtype=np.int32), none, np.zeros(0))
    sparse = sp.csr_array(rows)
    start, index = sparse.indptr[:-1].astype(np.int32), sparse.indices.astype(np.int32)
    highs.addRows(len(row_lower), row_lower, row_upper, sparse.nnz, start, index, sparse.data)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return np.inf, lower
    return highs.getInfo().objective_function_value, np.asarray(highs.getSolution().col_value)
