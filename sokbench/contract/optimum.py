"""The exact optimum on a tiny ReLU network, by exhaustion of its linear pieces.

Inside one activation pattern the network is affine and the pattern is a polyhedron, so the least margin there is a
linear program. The patterns that meet the ball are enumerated neuron by neuron, and a branch is left when its
polyhedron is empty. Nothing is relaxed and nothing is clever; a dozen neurons are as far as it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from ..core.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core.network import Network
    from ..core.problem import Ball

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """A linear piece: the inputs with A x <= b, where the network is weight x + bias."""

    A: Floats
    b: Floats
    weight: Floats
    bias: Floats


def least_margin_in(network: Network, x: Tensor, label: int, ball: Ball) -> float:
    """min over the ball (l_inf or l1, box included) and over j != y of f_y - f_j, for chains of affine and ReLU."""
    best = np.inf
    for piece in _pieces(network, x, ball):
        for target in set(range(network.num_classes)) - {label}:
            gradient = piece.weight[label] - piece.weight[target]
            least = _minimize(gradient, piece.A, piece.b, x, ball)
            if least is not None:
                best = min(best, least + float(piece.bias[label] - piece.bias[target]))
    return best


def _pieces(network: Network, x: Tensor, ball: Ball) -> Iterator[Piece]:
    """All linear pieces of the network that meet the ball."""
    size = x.numel()
    layers = _affine_layers(network)
    start = Piece(np.zeros((0, size)), np.zeros(0), np.eye(size), np.zeros(size))
    pieces: Iterator[Piece] = iter([start])
    for weight, bias in layers[:-1]:
        pieces = _through_relu(_through_affine(pieces, weight, bias), x, ball)
    return _through_affine(pieces, *layers[-1])


def _through_affine(pieces: Iterator[Piece], weight: Floats, bias: Floats) -> Iterator[Piece]:
    for piece in pieces:
        yield Piece(piece.A, piece.b, weight @ piece.weight, weight @ piece.bias + bias)


def _through_relu(pieces: Iterator[Piece], x: Tensor, ball: Ball) -> Iterator[Piece]:
    for piece in pieces:
        yield from _split(piece, 0, x, ball)


def _split(piece: Piece, neuron: int, x: Tensor, ball: Ball) -> Iterator[Piece]:
    """The pieces of one piece under ReLU, from this neuron on; the neurons before it are decided."""
    if neuron == len(piece.bias):
        yield piece
        return
    row, offset = piece.weight[neuron], piece.bias[neuron]
    for active in (True, False):
        sign = -1.0 if active else 1.0  # active: row x + offset >= 0
        A, b = np.vstack([piece.A, sign * row]), np.append(piece.b, -sign * offset)
        if _minimize(np.zeros(x.numel()), A, b, x, ball) is None:
            continue
        weight, bias = piece.weight, piece.bias
        if not active:
            weight, bias = weight.copy(), bias.copy()
            weight[neuron], bias[neuron] = 0.0, 0.0
        yield from _split(Piece(A, b, weight, bias), neuron + 1, x, ball)


def _minimize(gradient: Floats, A: Floats, b: Floats, x: Tensor, ball: Ball) -> float | None:
    """Least gradient x' over the ball with A x' <= b; None where that is empty."""
    centre = x.double().flatten().numpy()
    low = np.full(centre.shape, -np.inf if ball.low is None else ball.low)
    high = np.full(centre.shape, np.inf if ball.high is None else ball.high)
    if ball.norm == "linf":
        bounds = np.stack([np.maximum(low, centre - ball.radius), np.minimum(high, centre + ball.radius)], axis=1)
        result = linprog(gradient, A_ub=A, b_ub=b, bounds=bounds, method="highs")
    elif ball.norm == "l1":
        # x' = centre + up - down with up, down >= 0 and their sum within the radius
        split = np.vstack([np.hstack([A, -A]), np.ones((1, 2 * len(centre)))])
        limits = np.append(b - A @ centre, ball.radius)
        bounds = np.stack([np.zeros(2 * len(centre)), np.concatenate([high - centre, centre - low])], axis=1)
        result = linprog(np.concatenate([gradient, -gradient]), A_ub=split, b_ub=limits, bounds=bounds, method="highs")
        return float(result.fun + gradient @ centre) if result.status == 0 else None
    else:
        raise InvalidInput(f"exhaustion handles polyhedral balls (linf, l1), not {ball.norm}")
    return float(result.fun) if result.status == 0 else None


def _affine_layers(network: Network) -> list[tuple[Floats, Floats]]:
    """(weight, bias) of each affine stretch between ReLUs, read off by feeding the unit vectors, in float64."""
    layers: list[tuple[Floats, Floats]] = []
    shape, stretch = network.input_shape, nn.Sequential()
    for layer in (*network.module.children(), None):
        if layer is not None and not isinstance(layer, nn.ReLU):
            stretch.append(layer)
            continue
        size = int(np.prod(shape))
        with torch.no_grad():
            affine = _double(stretch)
            basis = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().view(-1, *shape)
            images = affine(basis)
        flat = images.flatten(1).numpy()
        layers.append(((flat[1:] - flat[0]).T, flat[0]))
        shape, stretch = tuple(images.shape[1:]), nn.Sequential()
    return layers


def _double(module: nn.Sequential) -> nn.Sequential:
    import copy

    return copy.deepcopy(module).double()
