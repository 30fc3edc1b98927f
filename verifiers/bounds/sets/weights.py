"""Networks whose weights are perturbed: the weights become part of the input, and the bound engine needs no other code.

A layer z = W x + b with uncertain W is a bilinear function of (x, W): every product W_ij x_j is a node of its own,
relaxed by McCormick's planes, and z their sum (Xu et al. 2020, section 3.2 and appendix C: certified flat minima).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor

from sokbench.core.errors import InvalidInput, Unsupported
from sokbench.core.problem import Ball
from verifiers.graph.arrangement import Pad, Reshape
from verifiers.graph.convolution import Conv2d
from verifiers.graph.graph import Graph, Node
from verifiers.graph.linear import Linear
from verifiers.graph.ops import Shape
from verifiers.graph.readers.build import Builder, Value

from .inputs import InputSet, Interval, Owner, input_set


@final
class Product(InputSet):
    """All combinations of members of several sets, flattened and joined: (B, n1 + n2 + ...). As exact as its parts."""

    def __init__(self, parts: Sequence[InputSet]) -> None:
        self._parts = tuple(parts)
        hulls = [part.interval() for part in parts]
        self._shapes: list[Shape] = [tuple(hull.lower.shape[1:]) for hull in hulls]
        self._sizes = [hull.lower[0].numel() for hull in hulls]
        sides = (torch.cat([side.flatten(1) for side in both], dim=1) for both in zip(*hulls, strict=True))
        self._hull = Interval(*sides)

    def interval(self) -> Interval:
        return self._hull

    def concretize(self, rows: Tensor, sign: Tensor, owner: Owner) -> Tensor:
        pieces = torch.split(rows, self._sizes, dim=3)
        found = [
            part.concretize(piece.reshape(*rows.shape[:3], *shape), sign, owner)
            for part, piece, shape in zip(self._parts, pieces, self._shapes, strict=True)
        ]
        return torch.stack(found).sum(dim=0)

    def size(self) -> Tensor:
        return torch.stack([part.size() for part in self._parts]).amax(dim=0)

    @property
    def is_box(self) -> bool:
        return all(part.is_box for part in self._parts)


def perturb_weights(
    graph: Graph, inputs: InputSet, weights: Mapping[str, Ball], biases: Mapping[str, Ball] | None = None
) -> tuple[Graph, Product]:
    """(a graph whose input holds x and the perturbed weights, flattened one after the other; the set of these).

    graph:   of the network, as traced: not simplified, so that its layers are the module's
    inputs:  the set of x; Box(x, 0.0) if x is known
    weights, biases: the ball around the weight tensor or the bias of a layer (linear, or convolution without groups),
             by the name of its module or its label in the graph; layers that share the tensor share the perturbation
    Products are nodes: a layer has (outputs x terms) of them, so this is for small networks.
    Raises `InvalidInput` for a name that does not stand for one tensor, `Unsupported` for other layers.
    """
    centre = inputs.interval().lower
    batch, dtype = len(centre), centre.dtype
    places: dict[int, tuple[int, Shape]] = {}
    sets, total = [inputs], centre[0].numel()
    for kind, balls in (("weight", weights), ("bias", biases or {})):
        for name, ball in balls.items():
            tensor = _tensor(graph, name, kind)
            sets.append(input_set(tensor.detach().to(dtype).flatten().expand(batch, -1), ball))
            places[id(tensor)] = (total, tuple(tensor.shape))
            total += tensor.numel()
    builder = Builder((total,), dtype)

    def part(start: int, shape: Shape) -> Value:
        count = int(torch.Size(shape).numel())
        cut = builder.add(Pad((-start,), (start + count - total,)), Value(0))
        return builder.add(Reshape(shape), cut)

    values = [part(0, graph.input_shape)]
    for node in graph.nodes[1:]:
        builder.where = node.label
        sources = [values[i] for i in node.inputs]
        tensors = node.op.tensors().items()
        own = {kind: part(*places[id(tensor)]) for kind, tensor in tensors if id(tensor) in places}
        values.append(_perturbed(builder, node, sources[0], own) if own else builder.add(node.op, *sources))
    return builder.build(values[-1]), Product(sets)


def _tensor(graph: Graph, name: str, kind: str) -> Tensor:
    layers = [node for node in graph.nodes if isinstance(node.op, (Linear, Conv2d))]
    called = [node.op.tensors().get(kind) for node in layers if name in (node.label, node.label.rpartition(".")[0])]
    found = {id(tensor): tensor for tensor in called if tensor is not None}
    if len(found) != 1:
        known = ", ".join(node.label for node in layers)
        raise InvalidInput(f"{name!r} has {'no' if not found else 'more than one'} {kind}; the layers are {known}")
    return next(iter(found.values()))


def _perturbed(builder: Builder, node: Node, x: Value, own: Mapping[str, Value]) -> Value:
    """The layer with its weight, its bias or both given as values."""
    op = node.op
    if isinstance(op, Linear):
        lead = builder.shape(x)[:-1]
        terms = builder.add(Reshape((*lead, 1, op.weight.shape[1])), x)
        bias_shape: Shape = (op.weight.shape[0],)
    elif isinstance(op, Conv2d) and op.groups == 1:
        terms = _patches(builder, op, x)
        bias_shape = (op.weight.shape[0], 1, 1)
    else:
        raise Unsupported(f"perturbed weights of {op.name} at {node.label!r} with groups")
    if "weight" in own:
        weight = own["weight"]
        rows: Shape = (op.weight.shape[0], op.weight[0].numel())
        ones = (1,) * (len(builder.shape(terms)) - 2)
        shape = (*ones, *rows) if isinstance(op, Linear) else (rows[0], 1, 1, rows[1])
        products = builder.product(builder.add(Reshape(shape), weight), terms)
        z = builder.total(products, [-1])
    else:
        z = builder.add(type(op)(**{**vars(op), "bias": None}), x)
    if "bias" in own:
        return builder.sum(
            z, builder.add(Reshape((*(1,) * (len(node.shape) - len(bias_shape)), *bias_shape)), own["bias"])
        )
    return z if op.bias is None else builder.sum(z, op.bias.detach().reshape(bias_shape))


def _patches(builder: Builder, op: Conv2d, x: Value) -> Value:
    """(1, H', W', terms): what each window of the convolution sees."""
    top, left = op.padding
    padded = builder.add(Pad((0, top, left), (0, top, left)), x)
    height, width = op.weight.shape[2:]

    def windows(index: Tensor) -> Tensor:
        for axis, (kernel, stride, step) in enumerate(
            zip((height, width), op.stride, op.dilation, strict=True), start=2
        ):
            index = index.unfold(axis, step * (kernel - 1) + 1, stride)[..., ::step]
        return index.permute(0, 2, 3, 1, 4, 5).flatten(3).unsqueeze(1)

    return builder.move(padded, windows)
