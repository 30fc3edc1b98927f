"""Every registered method, and any that is added later, against every check of the contract that applies to it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

import pytest

from sokbench.contract.checks import CHECKS, Check, checks_for, run_check
from sokbench.core.certifier import Certifier
from sokbench.core.method import Attack, BoundingVerifier, CompleteVerifier, Kind
from sokbench.core.registry import build, catalog

CLASSES: Final[dict[Kind, tuple[type[Any], ...]]] = {
    "verifier": (BoundingVerifier, CompleteVerifier),
    "attack": (Attack,),
    "certifier": (Certifier,),
}
# whether a verifier bounds or decides is only known once it is loaded, which collecting tests should not need
PAIRS = [
    (slug, item)
    for slug, entry in catalog().items()
    for item in CHECKS
    if any(issubclass(cls, item.kind) for cls in CLASSES[entry.info.kind])
]


# solvers that do not exist for every Python
OPTIONAL: Final = {"marabou": "maraboupy", "smt_z3": "z3"}


@pytest.mark.parametrize(("slug", "item"), PAIRS, ids=[f"{slug}-{item.name.replace(' ', '_')}" for slug, item in PAIRS])
def test_contract(slug: str, item: Check) -> None:
    if slug in OPTIONAL and find_spec(OPTIONAL[slug]) is None:
        pytest.skip(f"the package {OPTIONAL[slug]} is not installed")
    method = build(slug, (catalog()[slug].info.kind,), {})
    if item not in checks_for(method):
        pytest.skip(f"{slug} is no {getattr(item.kind, '__name__', item.kind)}")
    finding = run_check(item, method)
    assert not finding.failures, f"{slug} should keep: {finding.claim}\n" + "\n".join(finding.failures)
