"""What all proofs begin with, and how they are written: plain arrays (.npz, no pickle)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from sokbench.core.problem import Problem
    from verifiers.bounds.optimized.sweep import Start
    from verifiers.bounds.sets.inputs import Interval

    from .arithmetic import Array


def claim_arrays(form: str, problem: Problem, hull: Interval, start: Start) -> dict[str, Array]:
    """In the format `form`: all rows of `start` are positive on the box `hull` (1, *shape)."""
    return {
        "format": np.array(form),
        "network": np.array(problem.network.sha256),
        "label": np.array(problem.label),
        "lower": hull.lower.flatten().numpy(),
        "upper": hull.upper.flatten().numpy(),
        "rows": start.rows.numpy(),
        "offsets": start.constants.numpy(),
    }


def write_proof(arrays: dict[str, Array], folder: Path) -> Path:
    """Write a proof into `folder`, under a name made from the network and the box; returns the file."""
    about = [arrays[name].tobytes() for name in ("lower", "upper", "label", "centre", "radius") if name in arrays]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{str(arrays['network'])[:12]}-{hashlib.sha256(b''.join(about)).hexdigest()[:12]}.npz"
    entries: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **entries)
    return path
