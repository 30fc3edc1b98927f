"""The cases of the contract: a tiny network, a few inputs, one ball; and how many of them a check goes through."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final, TypeVar

from torch import Tensor

from ..core.errors import InvalidInput
from ..core.network import Network
from ..core.problem import Ball, Problem, parse_norm
from .networks import ORDINARY, inputs_of, tiny_network
from .optimum import least_margin_in
from .search import attained_margins

T = TypeVar("T")

RADII: Final = {
    "linf": (0.1, 0.3, 0.02),
    "l2": (0.2, 0.6, 0.03),
    "l1": (0.3, 1.0, 0.05),
    "l0": (1, 2),
}
"""Radii per norm, the most telling first: some bounds hold there and some do not."""

EXHAUSTIBLE: Final = ("mlp", "edge", "deep")
"""Networks small enough for exhaustion of their linear pieces, with the norms linf and l1."""

BUDGET_SECONDS: Final = 0.8
AT_LEAST: Final = 3
"""The budget rule, the same for every method and check: a check goes through its cases in their fixed order, the most
telling first, until `BUDGET_SECONDS` are spent, but at least through `AT_LEAST` of them. So a bound that takes
microseconds meets all cases, and one that solves programs meets the first few."""


@dataclass(frozen=True, eq=False)
class Case:
    """A few inputs of one tiny network with one ball; `name` finds it again: `case("mlp/linf/0.1")`."""

    name: str
    network: Network
    x: Tensor
    labels: Tensor
    ball: Ball

    @cached_property
    def attained(self) -> Tensor:
        """Least margins f_y - f_j that the contract's own search attained, float64 (B, C)."""
        return attained_margins(self.network, self.x, self.labels, self.ball)

    @cached_property
    def exact(self) -> float | None:
        """The exact least margin of the first input, by exhaustion; None where that is not to be had."""
        network = self.name.split("/")[0]
        if network not in EXHAUSTIBLE or self.ball.norm not in ("linf", "l1"):
            return None
        problem = self.problem(0)
        return least_margin_in(problem.network, problem.x, problem.label, problem.ball)

    def problem(self, row: int, label: int | None = None) -> Problem:
        """One input of the case as a problem, with its own label or another one."""
        return Problem(self.network, self.x[row].clone(), int(self.labels[row]) if label is None else label, self.ball)


@cache
def case(name: str) -> Case:
    """The case "network/norm/radius", such as "mlp/linf/0.1"; with "/free" at the end there is no input box."""
    parts = name.split("/")
    if len(parts) not in (3, 4) or parts[3:] not in ([], ["free"]):
        raise InvalidInput(f"a case is named network/norm/radius or network/norm/radius/free, not {name!r}")
    box = (None, None) if parts[3:] else (0.0, 1.0)
    x, labels = inputs_of(parts[0])
    ball = Ball(parse_norm(parts[1]), float(parts[2]), *box)
    return Case(name, tiny_network(parts[0]), x.clone(), labels.clone(), ball)


def cases(norms: Iterable[str], networks: Iterable[str] = ORDINARY) -> list[Case]:
    """All cases for some norms: every network at the first radius of every norm, then at the second, and so on."""
    norms, networks = list(norms), list(networks)
    names = [
        f"{network}/{norm}/{RADII[norm][rank]:g}"
        for rank in range(max(map(len, RADII.values())))
        for norm in norms
        if rank < len(RADII[norm])
        for network in networks
    ]
    # without a box there is nothing to stop a changed coordinate, so l0 has no such case
    names += [f"{network}/{norm}/{RADII[norm][0]:g}/free" for norm in norms if norm != "l0" for network in networks]
    return [case(name) for name in names]


def within_budget(items: Iterable[T]) -> Iterator[T]:
    """The first items, as many as the budget rule allows. What it takes to produce an item is not counted."""
    spent = 0.0
    for done, item in enumerate(items):
        if done >= AT_LEAST and spent > BUDGET_SECONDS:
            return
        handed_out = time.monotonic()
        yield item
        spent += time.monotonic() - handed_out


def searched(items: Iterable[Case]) -> Iterator[Case]:
    """The cases with their attained margins at hand, so that the search is not charged to the method's budget."""
    for item in items:
        _ = item.attained
        yield item
