"""Methods as data: which bounds come from intervals, which from back-substitution, and through which relaxation."""

from __future__ import annotations

from dataclasses import dataclass

from sokbench.core.errors import UnknownName

from .forward.forms import Domain, LinearBounds, Zonotope
from .relaxations.relu import ADAPTIVE, ADAPTIVE_TIE_ZERO, HYBRID, PARALLEL, ZERO, Relaxation


@dataclass(frozen=True)
class Plan:
    """How a batch is bounded.

    relaxation:   of the activations; None for intervals only
    intermediate: whether inputs of unstable activations are bounded by more than intervals
    domain:       what carries these bounds forward; None for back-substitution
    forward:      whether `domain` gives the margins too (else back-substitution does)
    chunk_bytes:  memory that the rows of one back-substitution may take
    Interval bounds are always computed, and the better of the two is kept on either side.
    """

    relaxation: Relaxation | None
    intermediate: bool
    domain: type[Domain] | None = None
    forward: bool = False
    chunk_bytes: int = 1 << 25


PLANS: dict[str, Plan] = {
    "ibp": Plan(None, intermediate=False),
    "crown_ibp": Plan(ADAPTIVE, intermediate=False),
    "crown": Plan(ADAPTIVE, intermediate=True),
    "deeppoly": Plan(ADAPTIVE_TIE_ZERO, intermediate=True),
    "fastlin": Plan(PARALLEL, intermediate=True),
    "crown_zero": Plan(ZERO, intermediate=True),
    "cnn_cert": Plan(ADAPTIVE, intermediate=True),
    "hbox": Plan(HYBRID, intermediate=True),
    "forward_lirpa": Plan(ADAPTIVE, intermediate=True, domain=LinearBounds, forward=True),
    "forward_backward": Plan(ADAPTIVE, intermediate=True, domain=LinearBounds),
    "deepz": Plan(PARALLEL, intermediate=True, domain=Zonotope, forward=True),
    "ai2_zonotope": Plan(HYBRID, intermediate=True, domain=Zonotope, forward=True),
}


def plan_of(plan: str | Plan) -> Plan:
    """The plan of a name, or the plan itself. Raises `UnknownName`."""
    if isinstance(plan, Plan):
        return plan
    if plan not in PLANS:
        raise UnknownName("bound propagation plan", plan, PLANS)
    return PLANS[plan]
