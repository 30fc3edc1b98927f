"""Writing the proofs of `beta_crown` as plain arrays (.npz, no pickle), and checking such files against a network.

What the arrays are: `proof_check`. Layers are counted from 0, neurons as in the network (the search leaves out those
that are never active), columns are the neurons that can be split.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput, Unsupported
from verifiers.bounds.optimized_bounds import Found
from verifiers.graph import graph_of
from verifiers.graph.affine import affine_relu_layers

from .domains import Columns
from .proof_check import FORMAT, Array, Checked, Checker, Refused, arrays_of
from .refined_search import RefinedResult

if TYPE_CHECKING:
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem

    from .split_decision import Question


@dataclass(frozen=True)
class Searched:
    """What a search leaves for its proof. result: with the proof kept; kept: by ReLU node, the entries that the search
    worked on; columns: of these."""

    result: RefinedResult
    kept: dict[int, Tensor]
    columns: Columns


def proof_arrays(problem: Problem, asked: Question, searched: Searched) -> dict[str, Array]:
    """The proof that all rows of `asked` are positive; raises `Unsupported` for what the checker has no arithmetic for.

    Only boxes and chains of layers can be checked.
    """
    graph = asked.relaxed.graph
    if not asked.relaxed.exact.inputs.is_box:
        raise Unsupported("proofs are written for l_inf balls only")
    affine_relu_layers(graph)  # raises for networks that branch
    lower, upper = asked.relaxed.exact.inputs.interval()
    layer_of = {index: place for place, index in enumerate(graph.relus)}
    neurons = [searched.columns.neuron(column) for column in range(searched.columns.width)]
    states = list(searched.result.proof)
    numbers = {path: number for number, path in enumerate(states)}
    leaves = [(numbers[path], leaf) for path in states for leaf in searched.result.proof[path].leaves]
    arrays: dict[str, Array] = {
        "format": np.array(FORMAT),
        "network": np.array(problem.network.sha256),
        "label": np.array(problem.label),
        "lower": lower.flatten().numpy(),
        "upper": upper.flatten().numpy(),
        "rows": asked.start.rows.numpy(),
        "offsets": asked.start.constants.numpy(),
        "columns_layer": np.array([layer_of[index] for index, _ in neurons], dtype=np.int64),
        "columns_neuron": np.array([int(searched.kept[index][entry]) for index, entry in neurons], dtype=np.int64),
        "leaf_state": np.array([state for state, _ in leaves], dtype=np.int64),
        "leaf_target": np.array([leaf.target for _, leaf in leaves], dtype=np.int64),
        "leaf_slopes": _stack([leaf.slopes for _, leaf in leaves], searched.columns.width),
        "leaf_gammas": _stack([leaf.gammas for _, leaf in leaves], searched.columns.width),
        **{f"kept{layer_of[index]}": entries.numpy() for index, entries in searched.kept.items()},
    }
    arrays["state_paths"], arrays["state_ends"] = _flat(states)
    arrays["leaf_paths"], arrays["leaf_ends"] = _flat([leaf.path for _, leaf in leaves])
    for path, number in numbers.items():
        # the root's bounds were raised in the whole network, those of the other states in the smaller one
        found, kept = (searched.result.proof[path].found, searched.kept) if path else (asked.relaxed.found, None)
        for index, one in found.items():
            arrays.update(_intermediate(f"state{number}_layer{layer_of[index]}", index, one, kept, layer_of))
    return arrays


def _intermediate(
    name: str, index: int, found: Found, kept: dict[int, Tensor] | None, layer_of: dict[int, int]
) -> dict[str, Array]:
    entries = found.entries if kept is None else kept[index][found.entries]
    arrays = {f"{name}_entries": entries.numpy()}
    for kind, values in (("slopes", found.slopes), ("gammas", found.gammas)):
        for below, dense in values.items():
            arrays[f"{name}_{kind}{layer_of[below]}"] = dense.flatten(1).numpy()
    return arrays


def _stack(vectors: Sequence[Tensor], width: int) -> Array:
    found = torch.stack([vector.double() for vector in vectors]) if vectors else torch.zeros(0, width)
    array: Array = found.double().numpy()
    return array


def _flat(paths: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
    ends = np.cumsum([len(path) for path in paths], dtype=np.int64)
    return np.array([split for path in paths for split in path], dtype=np.int64), ends


def write_proof(arrays: dict[str, Array], folder: Path) -> Path:
    """Write a proof into `folder`, under a name made from the network and the box; returns the file."""
    import hashlib

    box = hashlib.sha256(arrays["lower"].tobytes() + arrays["upper"].tobytes() + arrays["label"].tobytes())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{str(arrays['network'])[:12]}-{box.hexdigest()[:12]}.npz"
    entries: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **entries)
    return path


def read_proof(path: Path) -> dict[str, Array]:
    """Raises `InvalidInput` for a file that is no proof; pickled objects are never loaded."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return arrays_of((name, file[name]) for name in file.files)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} is no proof: {error}") from None


def check_proof(arrays: dict[str, Array], network: Network) -> Checked:
    """Check a proof about `network`. Raises `Refused`, naming what is wrong, and `Unsupported` for other networks."""
    try:
        if str(arrays["network"]) != network.sha256:
            raise Refused(f"the proof is about the network {str(arrays['network'])[:12]}, not {network.sha256[:12]}")
        return Checker(affine_relu_layers(graph_of(network)), arrays).check()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Refused(f"the proof is malformed: {error}") from None


def claims_label(arrays: dict[str, Array], classes: int) -> bool:
    """Whether the rows say that `label` stays above every other class."""
    label, rows, offsets = int(arrays["label"]), arrays["rows"], arrays["offsets"]
    wanted = {(label, other) for other in range(classes) if other != label}
    unit = np.eye(classes)
    found = {
        (label, other)
        for _, other in wanted
        for row, offset in zip(rows, offsets, strict=True)
        if offset <= 0 and np.array_equal(row, unit[label] - unit[other])
    }
    return found == wanted
