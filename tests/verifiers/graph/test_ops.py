"""Every affine operation: adjoint, unit rows, magnitude and row norms against its matrix written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from verifiers.graph.arrangement import Expand, Pad, Permute, Rearrangement, Reshape, Select, Sum
from verifiers.graph.convolution import AvgPool2d, Conv2d, ConvTranspose2d
from verifiers.graph.linear import Linear, Scale
from verifiers.graph.ops import LinearOp, Shape


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


OPS: dict[str, tuple[LinearOp, Shape]] = {
    "linear": (Linear(numbers(3, 4), numbers(3)), (4,)),
    "linear on rows": (Linear(numbers(3, 4)), (2, 4)),
    "conv": (Conv2d(numbers(3, 2, 3, 3), numbers(3), padding=(1, 1)), (2, 5, 4)),
    "conv strided": (Conv2d(numbers(3, 2, 4, 3), None, (2, 3), (1, 0)), (2, 7, 8)),
    "conv dilated, grouped": (Conv2d(numbers(4, 1, 2, 3), None, (1, 2), (1, 2), (2, 1), 2), (2, 6, 6)),
    "conv transposed": (ConvTranspose2d(numbers(2, 3, 3, 2), numbers(3), (2, 1), (1, 0), extra=(1, 0)), (2, 3, 4)),
    "conv transposed, grouped": (
        ConvTranspose2d(numbers(4, 1, 2, 2), None, (3, 2), groups=2, dilation=(1, 2)),
        (4, 2, 3),
    ),
    "average pool": (AvgPool2d((3, 2), (2, 2), (1, 1)), (2, 6, 5)),
    "scale": (Scale(numbers(2, 1, 1), numbers(2, 1, 1)), (2, 3, 3)),
    "reshape": (Reshape((3, 4)), (2, 6)),
    "permute": (Permute((2, 0, 1)), (2, 3, 4)),
    "pad": (Pad((1, 0, 2), (0, 3, 1)), (2, 3, 1)),
    "crop": (Pad((-1, 0), (2, -2)), (2, 4)),
    "select": (Select(1, (3, 0)), (2, 4, 2)),
    "select unevenly": (Select(1, (0, 2, 3)), (2, 4)),
    "select unevenly within": (Select(0, (0, 2, 3)), (4, 2)),
    "select twice": (Select(0, (1, 1, 0, 1)), (3, 2)),
    "expand": (Expand((3, 1, 2)), (1, 4, 1)),
    "sum": (Sum((1, 3, 2)), (4, 3, 2)),
    "sum of nothing": (Sum((1, 1)), (4, 3)),
}


@pytest.mark.parametrize("name", OPS)
def test_against_the_matrix(name: str) -> None:
    check_against_the_matrix(*OPS[name])


def check_against_the_matrix(op: LinearOp, shape: Shape) -> None:
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
    used = matrix != 0
    assert op.terms >= int(used.sum(dim=1).max())
    assert op.terms >= int(used.sum(dim=0).max())
    one_to_one = bool((used.sum(dim=0) <= 1).all() and (used.sum(dim=1) <= 1).all())
    assert one_to_one or not op.selects()
    if isinstance(op, Rearrangement):
        assert op.selects() == one_to_one
        assert set(matrix.flatten().tolist()) <= {0.0, 1.0}
        assert bool((used.sum(dim=1) <= 1).all())
    # the transpose is what autograd finds, both ways
    for start, change, back, other in (
        (x, op.linear, op.adjoint(rows[:3], shape), rows[:3]),
        (rows[:3], lambda r: op.adjoint(r, shape), op.linear(x), x),
    ):
        leaf = start.clone().requires_grad_()
        (change(leaf) * other).sum().backward()
        assert leaf.grad is not None
        assert torch.allclose(leaf.grad, back, atol=1e-12)


sizes = st.integers(1, 4)


@st.composite
def affine_operations(draw: st.DrawFn) -> tuple[LinearOp, Shape]:
    """An operation without weights, or a transposed convolution, and the shape of its input."""
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    counts = tuple(draw(st.sampled_from((1, 3))) for _ in shape)
    cut = [draw(st.integers(-((size - 1) // 2), 2)) for size in shape]
    indices = tuple(draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=5)))
    kernel, stride = (draw(st.tuples(sizes, sizes)) for _ in range(2))
    padding = tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)
    extra = tuple(draw(st.integers(0, s - 1)) for s in stride)
    weight = numbers(2, 3, *kernel)
    return draw(
        st.sampled_from(
            [
                (Pad(tuple(cut), (1,) * len(cut)), shape),
                (Select(axis, indices), shape),
                (Expand(counts), tuple(1 if count > 1 else size for count, size in zip(counts, shape, strict=True))),
                (Sum(tuple(size if count > 1 else 1 for count, size in zip(counts, shape, strict=True))), shape),
                (ConvTranspose2d(weight, None, stride, padding, extra=extra), (2, *draw(st.tuples(sizes, sizes)))),
            ]
        )
    )


@given(affine_operations())
def test_any_shape_against_the_matrix(case: tuple[LinearOp, Shape]) -> None:
    check_against_the_matrix(*case)
