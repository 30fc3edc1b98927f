"""Writing the proofs of `beta_crown` as plain arrays (.npz, no pickle).

What the arrays are: `proof_check`. Layers are counted from 0, neurons as in the network (the search leaves out those
that are never active), columns are the neurons that can be split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sokbench.core.errors import Unsupported

from .domains import Columns
from .proof_arithmetic import Array
from .proof_check import FORMAT
from .proof_steps import steps_of
from .refined_search import RefinedResult

if TYPE_CHECKING:
    from sokbench.core.network import Network
    from sokbench.core.problem import Ball, Problem
    from verifiers.bounds.optimized.relaxed import Found

    from .split_decision import Question


@dataclass(frozen=True)
class Searched:
    """What a search leaves for its proof. result: with the proof kept; kept: by ReLU node, the entries that the search
    worked on; columns: of these."""

    result: RefinedResult
    kept: dict[int, Tensor]
    columns: Columns


def refuse_uncheckable(network: Network, ball: Ball) -> None:
    """Raises `Unsupported` for what the checker has no arithmetic for, before a search is made in vain."""
    steps_of(network)
    if ball.norm not in ("linf", "l1"):
        raise Unsupported(f"proofs are written for l_inf and l1 balls, not {ball.norm}")


def proof_arrays(problem: Problem, asked: Question, searched: Searched) -> dict[str, Array]:
    """The proof that all rows of `asked` are positive."""
    lower, upper = asked.relaxed.exact.inputs.interval()
    layer_of = {index: place for place, index in enumerate(asked.relaxed.graph.relus)}
    arrays: dict[str, Array] = {
        "format": np.array(FORMAT),
        "network": np.array(problem.network.sha256),
        "label": np.array(problem.label),
        "lower": lower.flatten().numpy(),
        "upper": upper.flatten().numpy(),
        "rows": asked.start.rows.numpy(),
        "offsets": asked.start.constants.numpy(),
    }
    if not asked.relaxed.exact.inputs.is_box:
        arrays["centre"] = problem.x.double().flatten().numpy()
        arrays["radius"] = np.array(float(problem.ball.radius))
    arrays |= _leaves(searched, layer_of)
    for number, (path, proved) in enumerate(searched.result.proof.items()):
        # the root's bounds were raised in the whole network, those of the other states in the smaller one
        for index, found in (proved.found if path else asked.relaxed.found).items():
            arrays |= _raised(f"state{number}_layer{layer_of[index]}", index, found, searched, layer_of, not path)
    return arrays


def _leaves(searched: Searched, layer_of: dict[int, int]) -> dict[str, Array]:
    """Columns, the tree, and the multipliers of its leaves."""
    columns, proof = searched.columns, searched.result.proof
    leaves = [leaf for proved in proof.values() for leaf in proved.leaves]
    owners, neurons = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    arrays: dict[str, Array] = {}
    for index, entries in columns.entries.items():
        owners.append(np.full(len(entries), layer_of[index]))
        neurons.append(searched.kept[index][entries].numpy())
    for kind in ("slopes", "gammas"):
        vectors = _stack([getattr(leaf, kind) for leaf in leaves], columns.width)
        for index, layer in layer_of.items():
            arrays[f"leaf_{kind}{layer}"] = columns.part(index, vectors).numpy()
    arrays["columns_layer"], arrays["columns_neuron"] = np.concatenate(owners), np.concatenate(neurons)
    arrays["state_paths"], arrays["state_ends"] = _flat(list(proof))
    arrays["leaf_paths"], arrays["leaf_ends"] = _flat([leaf.path for leaf in leaves])
    arrays["leaf_state"] = np.repeat(np.arange(len(proof)), [len(proved.leaves) for proved in proof.values()])
    arrays["leaf_target"] = np.array([leaf.target for leaf in leaves], dtype=np.int64)
    return arrays


def _raised(
    name: str, index: int, found: Found, searched: Searched, layer_of: dict[int, int], whole: bool
) -> dict[str, Array]:
    """How the bounds of ReLU `index` were raised; whole: in the whole network."""
    arrays = {f"{name}_entries": (found.entries if whole else searched.kept[index][found.entries]).numpy()}
    for kind, values in (("slopes", found.slopes), ("gammas", found.gammas)):
        for below, dense in values.items():
            entries = searched.columns.entries[below]
            chosen = searched.kept[below][entries] if whole else entries
            arrays[f"{name}_{kind}{layer_of[below]}"] = dense.flatten(1)[:, chosen].numpy()
    return arrays


def _stack(vectors: Sequence[Tensor], width: int) -> Tensor:
    """(L, width), in float64 only if some are."""
    dtype = torch.float64 if any(vector.dtype == torch.float64 for vector in vectors) else torch.float32
    return torch.stack([vector.to(dtype) for vector in vectors]) if vectors else torch.zeros(0, width)


def _flat(paths: Sequence[tuple[int, ...]]) -> tuple[Array, Array]:
    ends = np.cumsum([len(path) for path in paths], dtype=np.int64)
    return np.array([split for path in paths for split in path], dtype=np.int64), ends


def write_proof(arrays: dict[str, Array], folder: Path) -> Path:
    """Write a proof into `folder`, under a name made from the network and the box; returns the file."""
    about = [arrays[name].tobytes() for name in ("lower", "upper", "label", "centre", "radius") if name in arrays]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{str(arrays['network'])[:12]}-{hashlib.sha256(b''.join(about)).hexdigest()[:12]}.npz"
    entries: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **entries)
    return path
