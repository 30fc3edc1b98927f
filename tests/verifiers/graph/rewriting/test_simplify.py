"""Simplified graphs compute the same function with fewer nodes, and count what merging rounds."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sokbench.core.errors import Unsupported
from tests.verifiers.graph.readers.test_from_torch import randomize
from verifiers.graph import trace
from verifiers.graph.arrangement import Expand, Pad, Permute, Reshape, Select, Sum
from verifiers.graph.convolution import Conv2d
from verifiers.graph.elementwise import Relu
from verifiers.graph.graph import Graph
from verifiers.graph.linear import Linear, Scale
from verifiers.graph.ops import Op
from verifiers.graph.readers.build import Builder, Value
from verifiers.graph.rewriting.simplify import simplify


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def chain(shape: tuple[int, ...], *ops: Op) -> Graph:
    builder = Builder(shape, torch.float64)
    value = Value(0)
    for op in ops:
        value = builder.add(op, value)
    return builder.build(value)


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes[1:]]


def scale(factor: float, shift: float, roundings: int = 0) -> Scale:
    parts = (torch.tensor(value, dtype=torch.float64) for value in (factor, shift))
    return Scale(*parts, roundings=roundings)


CONV = Conv2d(numbers(4, 2, 2, 1))


@pytest.mark.parametrize(
    ("ops", "left"),
    [
        ((Reshape((6,)), Reshape((3, 2)), Relu()), ["reshape", "relu"]),
        ((Reshape((6,)), Reshape((2, 3)), Relu()), ["relu"]),
        ((Permute((1, 0)), Permute((1, 0)), Relu()), ["relu"]),
        ((Relu(), scale(1.0, 0.0)), ["relu"]),
        ((scale(1.0, 0.0), Expand((1, 1)), Sum((1, 1))), []),
        ((scale(1.0, -0.5), scale(0.25, 0.0)), ["scale"]),
        ((scale(1.0, -0.5), scale(0.25, 1.0)), ["scale", "scale"]),
        ((Reshape((2, 3, 1)), Pad((0, 1, 2), (0, 1, 2)), Conv2d(numbers(1, 2, 2, 2))), ["reshape", "conv2d"]),
        ((Reshape((2, 3, 1)), Pad((0, 1, 2), (0, 0, 2)), Conv2d(numbers(1, 2, 2, 2))), ["reshape", "pad", "conv2d"]),
        ((Linear(numbers(4, 3)), Scale(torch.ones(1).double(), numbers(4))), ["linear"]),
        ((Linear(numbers(4, 3)), Scale(torch.ones(1).double(), numbers(2, 1))), ["linear", "scale"]),
        ((Reshape((2, 3, 1)), CONV, Scale(torch.ones(()).double(), numbers(4, 1, 1))), ["reshape", "conv2d"]),
        ((Reshape((2, 3, 1)), CONV, Scale(torch.ones(()).double(), numbers(2, 1))), ["reshape", "conv2d", "scale"]),
        ((Reshape((2, 3, 1)), CONV, Scale(torch.ones(()).double(), numbers())), ["reshape", "conv2d", "scale"]),
        ((Linear(numbers(4, 3)), Scale(torch.ones(1).double(), numbers(4), 1)), ["linear", "scale"]),
    ],
)
def test_what_is_merged_and_what_is_not(ops: tuple[Op, ...], left: list[str]) -> None:
    graph = chain((2, 3), *ops)
    simple = simplify(graph)
    assert names(simple) == left
    x = numbers(4, 2, 3)
    assert torch.allclose(simple.forward(x), graph.forward(x), atol=1e-14)
    assert all(tuple(v.shape[1:]) == n.shape for v, n in zip(simple.values(x), simple.nodes, strict=True))


def test_a_node_that_is_used_twice_stays() -> None:
    builder = Builder((6,), torch.float64)
    first = builder.add(scale(3.0, 0.0), Value(0))
    graph = builder.build(builder.sum(builder.add(scale(0.1, 0.0), first), builder.add(Relu(), first)))
    assert names(simplify(graph)) == ["scale", "scale", "relu", "add"]
    idle = builder.add(scale(1.0, 0.0), first)
    graph = builder.build(builder.sum(builder.add(scale(0.1, 0.0), idle), builder.add(Relu(), first)))
    assert names(simplify(graph)) == ["scale", "scale", "relu", "add"]


finite = st.floats(-1e6, 1e6, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-6)


@given(finite, finite, finite, st.booleans())
def test_merged_scales_say_how_far_they_are_from_the_product(a: float, b: float, shift: float, first: bool) -> None:
    ops = (scale(a, shift), scale(b, 0.0)) if first else (scale(a, 0.0), scale(b, shift))
    simple = simplify(chain((1,), *ops))
    (merged,) = (node.op for node in simple.nodes[1:]) if len(simple.nodes) > 1 else (scale(1.0, 0.0),)
    assert isinstance(merged, Scale)
    unit = Fraction(merged.rounded, 2**53)
    exact_scale, exact_shift = Fraction(a) * Fraction(b), Fraction(shift) * (Fraction(b) if first else 1)
    assert abs(Fraction(float(merged.scale)) - exact_scale) <= unit * abs(exact_scale)
    assert abs(Fraction(float(merged.shift)) - exact_shift) <= unit * abs(exact_shift)


STEPS: list[Op] = [
    *(Relu(), Linear(numbers(4, 4)), Sum((1, 1, 1)), Expand((1, 1, 1)), Select(0, (1, 0)), Select(1, (0, 1, 2))),
    *(Reshape(shape) for shape in ((6, 4), (2, 3, 4), (4, 3, 2), (24,))),
    *(Permute(order) for order in ((2, 1, 0), (1, 0), (0, 2, 1))),
    *(scale(*both) for both in ((2.0, 0.0), (1.0, 0.0), (1.0, 3.0), (-1.0, 0.0))),
    *(Pad((0, 1, 1), (0, 1, 1)), Pad((0, -1, 0), (0, 1, 0))),
    *(Conv2d(numbers(2, 2, 1, 1)), Conv2d(numbers(2, 2, 3, 3), numbers(2))),
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(STEPS), min_size=1, max_size=8))
def test_any_chain_keeps_its_function(steps: list[Op]) -> None:
    ops: list[Op] = []
    for op in steps:  # those that fit
        try:
            chain((2, 3, 4), *ops, op)
        except (Unsupported, IndexError):
            continue
        ops.append(op)
    graph = chain((2, 3, 4), *ops)
    x = numbers(3, 2, 3, 4)
    simple = simplify(graph)
    assert len(simple.nodes) <= len(graph.nodes)
    assert torch.allclose(simple.forward(x), graph.forward(x), rtol=1e-12, atol=1e-12)


def test_normalization_is_one_scale() -> None:
    class Normalized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(
                (x - torch.tensor([0.4, 0.6]).reshape(2, 1, 1)) / torch.tensor([0.2, 0.3]).reshape(2, 1, 1)
            )

    graph = simplify(trace(randomize(Normalized()), (2, 3, 3)))
    assert names(graph) == ["scale", "relu"]
    assert graph.nodes[1].op.rounded == 1  # type: ignore[attr-defined]
