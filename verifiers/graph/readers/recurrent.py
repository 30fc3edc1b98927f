"""LSTMs unrolled over time (Hochreiter and Schmidhuber 1997, with forget gates)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..elementwise import Sigmoid, Tanh
from ..linear import Linear
from .build import Builder, Operand, Value
from .compose import concat, stack

State = tuple[Operand, Operand]
"""Hidden state h and cell state c, (B, hidden) each."""


def lstm_cell(b: Builder, gates: Value, state: State, weight: Tensor, bias: Tensor | None) -> tuple[Value, Value]:
    """The state after one step.

    gates: the part (B, 4 hidden) of the gates i, f, g, o that the input brings; weight (4 hidden, hidden), bias: of h
    """
    h, c = state
    if isinstance(h, Value):
        gates = b.sum(gates, b.add(Linear(weight, bias), h))
    elif bool(h.any()):
        gates = b.sum(gates, F.linear(h, weight, bias))
    elif bias is not None:
        gates = b.sum(gates, bias)
    size = weight.shape[1]
    i, f, g, o = (b.move(gates, partial(torch.narrow, dim=-1, start=k * size, length=size)) for k in range(4))
    fresh = b.product(b.add(Sigmoid(), i), b.add(Tanh(), g))
    empty = isinstance(c, Tensor) and not bool(c.any())
    cell = fresh if empty else b.sum(b.product(b.add(Sigmoid(), f), c), fresh)
    return b.product(b.add(Sigmoid(), o), b.add(Tanh(), cell)), cell


def lstm_layer(
    b: Builder, x: Value, state: State, weights: Sequence[Tensor | None], backwards: bool
) -> tuple[list[Value], State]:
    """(h of every step in the order of time, last state) for x (B, T, in).

    weights: of the input (4 hidden, in) and of h (4 hidden, hidden), and their biases or None
    """
    in_weight, weight, in_bias, bias = (*weights, None, None)[:4]
    assert in_weight is not None
    assert weight is not None
    gates = b.add(Linear(in_weight, in_bias), x)
    steps = range(b.sizes(x)[1])
    outputs: list[Value] = []
    for step in reversed(steps) if backwards else steps:
        at_step = b.move(gates, partial(torch.select, dim=1, index=step))
        state = lstm_cell(b, at_step, state, weight, bias)
        outputs.append(state[0])
    return outputs[::-1] if backwards else outputs, state


def lstm(
    b: Builder, x: Value, states: Sequence[State], weights: Sequence[Sequence[Tensor | None]], bidirectional: bool
) -> tuple[Value, list[State]]:
    """(outputs (B, T, directions * hidden), last states), one entry of `states` and `weights` per layer and direction
    in the order of `torch.nn.LSTM`."""
    directions = 2 if bidirectional else 1
    final: list[State] = []
    for start in range(0, len(weights), directions):
        sides = []
        for index in range(start, start + directions):
            outputs, state = lstm_layer(b, x, states[index], weights[index], backwards=index > start)
            sides.append(stack(b, outputs, 1))
            final.append(state)
        x = sides[0] if len(sides) == 1 else concat(b, sides, -1)
    return x, final
