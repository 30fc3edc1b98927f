"""Reading proofs, and what they are accepted for: a label that stays on top, or a property in VNN-LIB.

A file holds one proof, the arrays of `check_splits` or `check_boxes` as .npz, or several of these in a zip archive.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sokbench.core.errors import InvalidInput

from .arithmetic import Array, Checked, Refused
from .check_boxes import FORMAT as OF_BOXES
from .check_boxes import BoxChecker
from .check_splits import Checker
from .steps import steps_of

if TYPE_CHECKING:
    from sokbench.core.network import Network
    from sokbench.core.problem import Problem


def read_proofs(path: Path) -> list[dict[str, Array]]:
    """Raises `InvalidInput` for a file that holds no proofs; pickled objects are never loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.endswith(".npz")]
            return [_arrays(archive.open(name)) for name in inner] if inner else [_arrays(path)]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path} is no proof: {error}") from None


def _arrays(file: Any) -> dict[str, Array]:
    with np.load(file, allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def check_proof(arrays: dict[str, Array], network: Network) -> Checked:
    """Check a proof about `network`. Raises `Refused`, naming what is wrong, and `Unsupported` for networks that the
    checker does not know."""
    try:
        if str(arrays["network"]) != network.sha256:
            raise Refused(f"the proof is about the network {str(arrays['network'])[:12]}, not {network.sha256[:12]}")
        checker = BoxChecker if str(arrays["format"]) == OF_BOXES else Checker
        with np.errstate(all="ignore"):  # infinite numbers and what comes of them show nothing
            return checker(steps_of(network), arrays).check()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Refused(f"the proof is malformed: {error}") from None


def check_label(arrays: dict[str, Array], network: Network) -> Checked:
    """Check that the proof shows that its label stays above all other classes. Raises as `check_proof`."""
    checked = check_proof(arrays, network)
    if not claims_label(arrays, network.num_classes):
        raise Refused("the rows do not say that a label stays on top")
    return checked


def check_problems(proofs: Sequence[dict[str, Array]], problems: Sequence[Problem]) -> list[Checked]:
    """Check that every problem of a property is proved by one of the proofs. Raises as `check_proof`."""
    found = []
    for place, problem in enumerate(problems, start=1):
        about = [arrays for arrays in proofs if _is_about(arrays, problem)]
        if not about:
            raise Refused(f"there is no proof of problem {place} of {len(problems)} that the property consists of")
        found.append(check_label(about[0], problem.network))
    return found


def claims_label(arrays: dict[str, Array], classes: int) -> bool:
    """Whether the rows say that `label` stays above every other class."""
    label, rows, offsets = int(arrays["label"]), arrays["rows"], arrays["offsets"]
    unit = np.eye(classes)
    said = [row for row, offset in zip(rows, offsets, strict=True) if offset <= 0]
    wanted = [unit[label] - unit[other] for other in range(classes) if other != label]
    return all(any(np.array_equal(row, each) for row in said) for each in wanted)


def _is_about(arrays: dict[str, Array], problem: Problem) -> bool:
    """Whether the proof's inputs are a box that contains the problem's, and its network and label are the same."""
    x, ball = problem.x.double().numpy().reshape(-1), problem.ball
    if ball.norm != "linf" or "radius" in arrays or str(arrays.get("network")) != problem.network.sha256:
        return False
    lower, upper = np.nextafter(x - ball.radius, -np.inf), np.nextafter(x + ball.radius, np.inf)
    lower = lower if ball.low is None else np.maximum(lower, ball.low)
    upper = upper if ball.high is None else np.minimum(upper, ball.high)
    inside = (arrays["lower"] <= lower).all() and (arrays["upper"] >= upper).all()
    return bool(inside) and int(arrays["label"]) == problem.label
