"""Every affine operation: adjoint, unit rows, magnitude and row norms against its matrix written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from verifiers.graph.ops import AvgPool2d, Conv2d, Linear, LinearOp, Permute, Reshape, Scale, Shape


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


OPS: dict[str, tuple[LinearOp, Shape]] = {
    "linear": (Linear(numbers(3, 4), numbers(3)), (4,)),
    "linear on rows": (Linear(numbers(3, 4)), (2, 4)),
    "conv": (Conv2d(numbers(3, 2, 3, 3), numbers(3), padding=(1, 1)), (2, 5, 4)),
    "conv strided": (Conv2d(numbers(3, 2, 4, 3), None, (2, 3), (1, 0)), (2, 7, 8)),
    "conv dilated, grouped": (Conv2d(numbers(4, 1, 2, 3), None, (1, 2), (1, 2), (2, 1), 2), (2, 6, 6)),
    "average pool": (AvgPool2d((3, 2), (2, 2), (1, 1)), (2, 6, 5)),
    "scale": (Scale(numbers(2, 1, 1), numbers(2, 1, 1)), (2, 3, 3)),
    "reshape": (Reshape((3, 4)), (2, 6)),
    "permute": (Permute((2, 0, 1)), (2, 3, 4)),
}


@pytest.mark.parametrize("name", OPS)
def test_against_the_matrix(name: str) -> None:
    op, shape = OPS[name]
    size = int(torch.tensor(shape).prod())
    columns = op.linear(torch.eye(size, dtype=torch.float64).reshape(size, *shape))
    out_shape = tuple(columns.shape[1:])
    matrix = columns.reshape(size, -1).T
    rows = numbers(5, *out_shape)
    assert torch.allclose(op.adjoint(rows, shape).flatten(1), rows.flatten(1) @ matrix, atol=1e-12)
    entries = torch.arange(matrix.shape[0])
    assert torch.equal(op.unit_rows(entries, shape, out_shape).flatten(1), matrix)
    x = numbers(3, *shape)
    assert torch.allclose(op.magnitude().linear(x).flatten(1), x.flatten(1) @ matrix.abs().T, atol=1e-12)
    for q in (2.0, torch.inf):
        norms = op.row_norms(q, shape)
        if norms is not None:
            exact = torch.linalg.vector_norm(matrix, ord=q, dim=1)
            assert bool((norms.expand(out_shape).flatten() >= exact - 1e-12).all())
    if op.offset is not None:
        assert torch.allclose(op.forward(x) - op.linear(x), op.offset.expand(out_shape), atol=1e-12)
    assert op.terms >= int((matrix != 0).sum(dim=1).max())
    assert op.terms >= int((matrix != 0).sum(dim=0).max())
