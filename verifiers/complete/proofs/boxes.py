"""The proofs of splitting inputs as plain arrays. What they are: `check_boxes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from .check_boxes import FORMAT
from .file import claim_arrays, write_proof

if TYPE_CHECKING:
    from sokbench.core.problem import Problem
    from verifiers.bounds.optimized.many_boxes import Shown
    from verifiers.bounds.optimized.sweep import Start
    from verifiers.bounds.sets.inputs import Interval

    from .arithmetic import Array


_NONE = torch.zeros(0, dtype=torch.long)


@final
class BoxTree:
    """What a search did, as its proof wants it: how boxes were cut, and which rows were found positive in which."""

    def __init__(self) -> None:
        self._splits: list[tuple[Tensor, Tensor, Tensor]] = []
        self._shown: list[tuple[Tensor, Shown]] = []
        self._nodes = 1

    def split(self, nodes: Tensor, columns: Tensor, cuts: Tensor) -> Tensor:
        """Nodes (D,) are cut across coordinates `columns` at `cuts`; returns their children (2 D,), those below the
        cuts first."""
        below = self._nodes + 2 * torch.arange(len(nodes))
        self._splits.append((nodes, columns, cuts))
        self._nodes += 2 * len(nodes)
        return torch.cat([below, below + 1])

    def show(self, nodes: Tensor, shown: Shown) -> None:
        """`shown` of the boxes of nodes (D,)."""
        self._shown.append((nodes[shown.owner], shown))

    def arrays(self) -> dict[str, Array]:
        """Raises `ValueError` if nothing was shown."""
        nodes, columns, cuts = zip(*self._splits, strict=True) if self._splits else ([_NONE], [_NONE], [_NONE.double()])
        moved = torch.cat([shown.moved for _, shown in self._shown])
        arrays = {
            "split_node": torch.cat(nodes),
            "split_input": torch.cat(columns),
            "split_cut": torch.cat(cuts),
            "proved_node": torch.cat([nodes for nodes, _ in self._shown]),
            "proved_row": torch.cat([shown.row for _, shown in self._shown]),
            "proved_slopes": torch.where(moved, moved.cumsum(dim=0) - 1, -1),
        }
        for layer, relu in enumerate(self._shown[0][1].slopes):
            arrays[f"slopes{layer}"] = torch.cat([shown.slopes[relu] for _, shown in self._shown]).flatten(1)
        return {name: values.numpy() for name, values in arrays.items()}


def write_box_proof(folder: Path, problem: Problem, hull: Interval, start: Start, tree: BoxTree) -> Path:
    """The proof that all rows of `start` are positive on the box `hull` (1, *shape); returns the file."""
    return write_proof(claim_arrays(FORMAT, problem, hull, start) | tree.arrays(), folder)
