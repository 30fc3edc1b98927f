"""Checks of bounding verifiers: what their margins must be. Each returns its failures in plain words.

Two rules say when numbers count as different. Against an attained margin, evaluated in float64, only the rounding of
float64 is forgiven: a bound claims to hold in real arithmetic. Two bounds of the same thing computed in two ways may
differ by more, because float32 sums in another order, and solvers stop elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from ..core.errors import Unsupported
from ..core.method import BoundingVerifier
from ..core.problem import NORMS, Ball, parse_norm
from ..core.registry import build
from .cases import RADII, Case, case, cases, searched, within_budget
from .networks import ORDINARY, with_permuted_classes

FLOAT64_ROUNDING: Final = 1e-12
"""Relative error of a float64 forward pass of some hundred operations, at most 1e-16 each, with room to spare."""

PROGRAM_TOLERANCE: Final = 1e-6
"""Relative accuracy of exhaustion, whose linear programs are solved to a feasibility of 1e-7."""

AGREEMENT: Final = 1e-3
"""How closely two ways to the same bound agree, relative to 1 + its size: iterative solvers stop within about this."""


def margins_have_their_shape(method: BoundingVerifier) -> list[str]:
    failures = []
    for item, low in _bounded(method, cases(method.info.norms)):
        expected = (len(item.x), item.network.num_classes)
        if not isinstance(low, Tensor) or tuple(low.shape) != expected or not low.is_floating_point():
            failures.append(f"on {item.name} margins returned {_describe(low)}, not a float tensor of shape {expected}")
            continue
        at_label = low.gather(1, item.labels[:, None])
        if not bool((at_label == torch.inf).all()):
            failures.append(f"on {item.name} the margin at the label itself is {at_label.flatten().tolist()}, not inf")
        if bool(low.isnan().any()):
            failures.append(f"on {item.name} a margin is NaN: {low.tolist()}")
    return failures


def margins_are_sound(method: BoundingVerifier) -> list[str]:
    failures = []
    for item, low in _bounded(method, cases(method.info.norms)):
        excess = _others(low.double() - item.attained, item)
        allowed = FLOAT64_ROUNDING * (1 + item.attained.abs().nan_to_num(posinf=0.0))
        for row, column in (excess > allowed).nonzero().tolist():
            claimed, attained = float(low[row, column]), float(item.attained[row, column])
            failures.append(
                f"on {item.name}, input {row}, class {column}: the lower bound of f_y - f_j is {claimed:.9g}, but an "
                f"input in the ball attains {attained:.9g}"
            )
        exact = item.exact
        if exact is not None and float(low[0].min()) > exact + PROGRAM_TOLERANCE * (1 + abs(exact)):
            failures.append(
                f"on {item.name}, input 0: the bound {float(low[0].min()):.9g} is above the minimum {exact:.9g}"
            )
    return failures


def zero_radius_is_exact(method: BoundingVerifier) -> list[str]:
    failures = []
    names = [f"{network}/{norm}/0" for norm in method.info.norms for network in ORDINARY]
    for item, low in _bounded(method, [case(name) for name in names]):
        # the search has only the input itself to attain
        difference = _others(item.attained - low.double(), item)
        wrong = (difference.abs() > AGREEMENT * (1 + item.attained.abs())).nonzero().tolist()
        for row, column in wrong:
            failures.append(
                f"on {item.name}, input {row}, class {column}: at radius 0 the bound is {float(low[row, column]):.6g}, "
                f"the margin of the input itself {float(item.attained[row, column]):.6g}"
            )
    return failures


def margins_fall_with_the_radius(method: BoundingVerifier) -> list[str]:
    """Over radii that grow threefold: on a slightly larger ball a slope chosen by rule of thumb may happen to gain."""
    failures = []
    for norm in within_budget(method.info.norms):
        for network in within_budget(ORDINARY):
            items = [case(f"{network}/{norm}/{radius:g}") for radius in sorted(RADII[norm])]
            bounds = list(_bounded(method, items))
            for (inner, high), (outer, low) in pairwise(bounds):
                rise = _others(low - high, inner)
                allowed = AGREEMENT * (1 + high.abs().nan_to_num(posinf=0.0, neginf=0.0))
                for row, column in (rise > allowed).nonzero().tolist():
                    failures.append(
                        f"input {row}, class {column}: the bound rises from {float(high[row, column]):.6g} on "
                        f"{inner.name} to {float(low[row, column]):.6g} on {outer.name}, a larger ball"
                    )
    return failures


def margins_follow_the_class_order(method: BoundingVerifier) -> list[str]:
    failures = []
    for item, low in _bounded(method, cases(method.info.norms)):
        order = list(reversed(range(item.network.num_classes)))
        network = with_permuted_classes(item.network, order)
        labels = item.network.num_classes - 1 - item.labels
        permuted = method.margins(network, item.x.clone(), labels, item.ball)[:, order]
        for row, column in _differing(low, permuted):
            failures.append(
                f"on {item.name}, input {row}, class {column}: {float(low[row, column]):.6g} becomes "
                f"{float(permuted[row, column]):.6g} when the classes are listed in reverse order"
            )
    return failures


def batch_equals_single(method: BoundingVerifier) -> list[str]:
    failures = []
    for item, together in _bounded(method, cases(method.info.norms)):
        rows = [
            method.margins(item.network, item.x[row : row + 1].clone(), item.labels[row : row + 1].clone(), item.ball)
            for row in range(len(item.x))
        ]
        alone = torch.cat(rows)
        for row, column in _differing(together, alone):
            failures.append(
                f"on {item.name}, input {row}, class {column}: {float(together[row, column]):.6g} in a batch of "
                f"{len(item.x)}, {float(alone[row, column]):.6g} alone"
            )
    return failures


def margins_keep_their_rank(method: BoundingVerifier) -> list[str]:
    """Where info.tighter_than names another method, the margins are never below that one's."""
    failures = []
    for slug in method.info.tighter_than:
        looser = build(slug, ("verifier",), {})
        if not isinstance(looser, BoundingVerifier):
            failures.append(f"info.tighter_than names {slug}, which gives no margins to compare with")
            continue
        norms = [norm for norm in method.info.norms if norm in looser.info.norms]
        for item, low in _bounded(method, cases(norms)):
            other = looser.margins(item.network, item.x.clone(), item.labels.clone(), item.ball)
            shortfall = _others(other - low, item)
            allowed = AGREEMENT * (1 + other.abs().nan_to_num(posinf=0.0, neginf=0.0))
            for row, column in (shortfall > allowed).nonzero().tolist():
                failures.append(
                    f"on {item.name}, input {row}, class {column}: {float(low[row, column]):.6g}, but {slug}, which "
                    f"info.tighter_than names, proves {float(other[row, column]):.6g}"
                )
    return failures


def undeclared_norms_are_unsupported(method: BoundingVerifier) -> list[str]:
    failures = []
    for norm in NORMS:
        if norm in method.info.norms:
            continue
        item = case(f"mlp/{norm}/1")
        try:
            method.margins(item.network, item.x.clone(), item.labels.clone(), Ball(parse_norm(norm), 1.0, 0.0, 1.0))
        except Unsupported:
            continue
        failures.append(f"margins answers for an {norm} ball, which info.norms does not name; raise Unsupported")
    return failures


def unknown_layers_are_unsupported_or_sound(method: BoundingVerifier) -> list[str]:
    failures = []
    for item in cases(method.info.norms[:1], ["odd"]):
        try:
            low = method.margins(item.network, item.x.clone(), item.labels.clone(), item.ball)
        except Unsupported:
            continue
        excess = _others(low.double() - item.attained, item)
        if bool((excess > FLOAT64_ROUNDING * (1 + item.attained.abs().nan_to_num(posinf=0.0))).any()):
            failures.append(f"on {item.name}, a network with a sort inside, the bounds are wrong; raise Unsupported")
    return failures


def _bounded(method: BoundingVerifier, items: list[Case]) -> Iterator[tuple[Case, Tensor]]:
    """Cases and their margins, as far as the budget goes; norms or layers that the method refuses are passed over."""
    for item in within_budget(searched(items)):
        try:
            yield item, method.margins(item.network, item.x.clone(), item.labels.clone(), item.ball)
        except Unsupported:
            continue


def _others(values: Tensor, item: Case) -> Tensor:
    """The values with those at the label itself set to 0, where they mean nothing."""
    return values.scatter(1, item.labels[:, None], 0.0)


def _differing(a: Tensor, b: Tensor) -> list[list[int]]:
    """Where two tensors of margins disagree by more than two ways of computing the same may."""
    same = (a == b) | ((a - b).abs() <= AGREEMENT * (1 + a.abs()))
    return [[int(row), int(column)] for row, column in (~same).nonzero().tolist()]


def _describe(value: object) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
