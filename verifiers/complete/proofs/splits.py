"""The proofs of splitting activations as plain arrays.

What they are: `check_splits`. Layers are counted from 0, neurons as in the network (the search leaves out those
that are never active), columns are the neurons that can be split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import Unsupported
from verifiers.bounds.optimized.relaxed import both_sides
from verifiers.bounds.relaxations.curves import curve_lines
from verifiers.bounds.relaxations.relu import relu_adaptive
from verifiers.graph.elementwise import Elementwise, Relu

from ..search.domains import Columns
from ..search.refined_search import RefinedResult
from .arithmetic import Array
from .check_splits import FORMAT
from .file import claim_arrays
from .steps import steps_of

if TYPE_CHECKING:
    from sokbench.core.network import Network
    from sokbench.core.problem import Ball, Problem
    from verifiers.bounds.optimized.relaxed import Found, Relaxed

    from ..split_decision import Question

Slopes = dict[int, Tensor]
_SCARCE = 1e-3  # of the bounds without splits


@dataclass(frozen=True)
class Searched:
    """What a search leaves for its proof. result: with the proof kept; kept: by activation, the entries that the search
    worked on; columns: of these."""

    result: RefinedResult
    kept: dict[int, Tensor]
    columns: Columns

    def neurons(self, index: int) -> Tensor:
        """Of the whole network, those of activation `index` that have columns."""
        return self.kept[index][self.columns.entries[index]]


def refuse_uncheckable(network: Network, ball: Ball) -> None:
    """Raises `Unsupported` for what the checker has no arithmetic for, before a search is made in vain."""
    steps_of(network)
    if ball.norm not in ("linf", "l1"):
        raise Unsupported(f"proofs are written for l_inf and l1 balls, not {ball.norm}")


def usual_slopes(relaxed: Relaxed) -> Slopes:
    """CROWN's slopes at all activations, flat: (1, n) below ReLUs, (2, n) below and above others. Taken before bounds
    are raised they show those that the search began with, since lines only get closer on smaller intervals."""
    found = {}
    for index, (lower, upper) in relaxed.bounds.items():
        op = relaxed.graph.nodes[index].op
        assert isinstance(op, Elementwise)
        lines = relu_adaptive(lower, upper) if isinstance(op, Relu) else curve_lines(op, lower, upper)
        sides = [lines.lower_slope] if isinstance(op, Relu) else [lines.lower_slope, lines.upper_slope]
        found[index] = torch.cat(sides).flatten(1)
    return found


def proof_arrays(problem: Problem, asked: Question, searched: Searched, usual: Slopes) -> dict[str, Array]:
    """The proof that all rows of `asked` are positive. usual: of `usual_slopes`, before the search."""
    layer_of = {index: place for place, index in enumerate(sorted(asked.relaxed.bounds))}
    arrays = claim_arrays(FORMAT, problem, asked.relaxed.exact.inputs.interval(), asked.start)
    if not asked.relaxed.exact.inputs.is_box:
        arrays["centre"] = problem.x.double().flatten().numpy()
        arrays["radius"] = np.array(float(problem.ball.radius))
    for index, layer in layer_of.items():
        arrays[f"neurons{layer}"] = searched.neurons(index).numpy()
        arrays[f"usual{layer}"] = usual[index].numpy()
    precision = _precision(asked, searched)
    arrays |= _tree(searched, layer_of) | _leaves(searched, layer_of, precision)
    for number, (path, proved) in enumerate(searched.result.proof.items()):
        # the root's bounds were raised in the whole network, those of the other states in the smaller one
        relaxed = proved.relaxed if path else asked.relaxed
        for index, found in relaxed.found.items():
            entries = searched.kept[index][found.entries] if path else found.entries
            arrays[f"state{number}_layer{layer_of[index]}_entries"] = entries.numpy()
            for kind, below, values in _raised(relaxed, index, found):
                columns = searched.columns.entries[below] if path else searched.neurons(below)
                chosen = values.flatten(1)[:, columns].to(precision).numpy()
                arrays[f"state{number}_layer{layer_of[index]}_{kind}{layer_of[below]}"] = chosen
    return arrays


def _precision(asked: Question, searched: Searched) -> torch.dtype:
    """Of slopes: ReLUs' were found in float32. A line at a smooth activation is moved by the rounding of its slope,
    which may not cost what little a leaf has."""
    least = min((leaf.bound for proved in searched.result.proof.values() for leaf in proved.leaves), default=math.inf)
    scarce = bool(searched.columns.above) and least < _SCARCE * float(asked.bounds.abs().max())
    return torch.float64 if scarce else torch.float32


def _tree(searched: Searched, layer_of: dict[int, int]) -> dict[str, Array]:
    """The splits, states and leaves; a column of the proof is one of the search with a cut, the state's."""
    columns, proof = searched.columns, searched.result.proof
    numbers: dict[tuple[int, float], int] = {}

    def renamed(path: Sequence[int], owners: Sequence[tuple[int, ...]]) -> list[int]:
        found = []
        for split, owner in zip(path, owners, strict=True):
            column = abs(split) - 1
            key = (column, proof[owner].relaxed.cut(*columns.neuron(column)))
            number = numbers.setdefault(key, len(numbers)) + 1
            found.append(number if split > 0 else -number)
        return found

    states = [renamed(path, [path[:end] for end in range(len(path))]) for path in proof]
    leaves = [renamed(leaf.path, [path] * len(leaf.path)) for path, proved in proof.items() for leaf in proved.leaves]
    places = [columns.neuron(column) for column, _ in numbers]
    arrays = {
        "columns_layer": [layer_of[index] for index, _ in places],
        "columns_neuron": [int(searched.kept[index][entry]) for index, entry in places],
        "leaf_state": np.repeat(np.arange(len(proof)), [len(proved.leaves) for proved in proof.values()]),
        "leaf_target": [leaf.target for proved in proof.values() for leaf in proved.leaves],
    }
    for name, paths in (("state", states), ("leaf", leaves)):
        arrays[f"{name}_paths"] = [split for path in paths for split in path]
        arrays[f"{name}_ends"] = np.cumsum([len(path) for path in paths])
    integers = {name: np.array(values, dtype=np.int64) for name, values in arrays.items()}
    return integers | {"columns_cut": np.array([cut for _, cut in numbers], dtype=np.float64)}


def _leaves(searched: Searched, layer_of: dict[int, int], precision: torch.dtype) -> dict[str, Array]:
    """The multipliers of leaves; float64 where they come from a linear program."""
    leaves = [leaf for proved in searched.result.proof.values() for leaf in proved.leaves]
    slopes, gammas = (
        torch.stack([getattr(leaf, kind) for leaf in leaves]) if leaves else torch.zeros(0, searched.columns.width)
        for kind in ("slopes", "gammas")
    )
    parts = {}
    for index, layer in layer_of.items():
        parts[f"leaf_slopes{layer}"] = searched.columns.part(index, slopes.to(precision)).numpy()
        parts[f"leaf_gammas{layer}"] = searched.columns.part(index, gammas).numpy()
    return parts


def _raised(relaxed: Relaxed, index: int, found: Found) -> Iterator[tuple[str, int, Tensor]]:
    """(kind, node, values (2 P, *shape)) of how the bounds of the input of node `index` were raised."""
    start = both_sides(relaxed, relaxed.graph.nodes[index].inputs[0], found.entries)
    pieces: dict[int, list[Tensor]] = {}
    if found.slopes.keys() - relaxed.graph.relus:
        for rows in torch.split(torch.arange(len(start.rows)), relaxed.at_once()):
            slopes, gammas = ({i: v[rows] for i, v in part.items()} for part in (found.slopes, found.gammas))
            for below, taken in relaxed.curve_slopes(start.take(rows), slopes, gammas).items():
                pieces.setdefault(below, []).append(taken)
    for below, dense in found.slopes.items():
        if below in relaxed.graph.relus:
            yield "slopes", below, dense
        elif below in pieces:
            yield "slopes", below, torch.cat(pieces[below])
    for below, dense in found.gammas.items():
        yield "gammas", below, dense
