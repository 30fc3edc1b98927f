"""A short workout of a method: enough calls to see what it leaves behind, with its answers for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import torch

from ..core.certifier import Certifier
from ..core.errors import Unsupported
from ..core.method import BoundingVerifier, Method
from ..core.network import Network
from .cases import case, within_budget
from .noises import noises_of

Subject: TypeAlias = Method | Certifier

_NETWORK: Final = "alters the network's weights, mode, gradients or hooks"


def exercise(subject: Subject, changed: list[str] | None = None) -> dict[str, Any]:
    """Call the method on a few cases, as many as the budget allows: its answers by the name of the case.

    changed: where given, gets a sentence for every input or network that the method altered.
    """
    calls = _certifier_calls(subject, changed) if isinstance(subject, Certifier) else _method_calls(subject, changed)
    return dict(within_budget(calls))


def _method_calls(method: Method, changed: list[str] | None) -> Iterator[tuple[str, Any]]:
    for norm in method.info.norms:
        for network in ("mlp", "conv"):
            item = case(f"{network}/{norm}/{1 if norm == 'l0' else 0.2:g}")
            before = _fingerprint(item.network)
            if isinstance(method, BoundingVerifier):
                x, labels = item.x.clone(), item.labels.clone()
                try:
                    low = method.margins(item.network, x, labels, item.ball)
                except Unsupported:
                    continue
                yield f"margins on {item.name}", low.numpy().tobytes()
                _compare(changed, f"alters x in place (seen on {item.name})", torch.equal(x, item.x))
                _compare(changed, f"alters labels in place (seen on {item.name})", torch.equal(labels, item.labels))
                _compare(changed, f"{_NETWORK} (margins on {item.name})", _fingerprint(item.network) == before)
            problem = item.problem(0)
            outcome = method.verify(problem)
            witness = None if outcome.witness is None else outcome.witness.detach().numpy().tobytes()
            yield f"verify on {item.name}", (outcome.verdict, outcome.margin, witness)
            _compare(changed, f"alters problem.x in place (seen on {item.name})", torch.equal(problem.x, item.x[0]))
            _compare(changed, f"{_NETWORK} (verify on {item.name})", _fingerprint(item.network) == before)


def _certifier_calls(certifier: Certifier, changed: list[str] | None) -> Iterator[tuple[str, Any]]:
    for noise in noises_of(certifier):
        p, q = np.linspace(0.5, 1.0, 6)[:-1], np.linspace(0.5, 0.0, 6)[:-1]
        selection, counts = np.array([2, 97, 1]), np.array([30, 960, 10])
        kept = [array.copy() for array in (p, q, selection, counts)]
        yield f"radius for {noise}", certifier.radius(p, q, noise).tobytes()
        yield f"certify for {noise}", repr(certifier.certify(selection, counts, noise, 0.001))
        same = all(map(np.array_equal, kept, (p, q, selection, counts)))
        _compare(changed, f"alters the arrays it is given (seen with {noise})", same)


def _compare(changed: list[str] | None, sentence: str, same: bool) -> None:
    if changed is not None and not same:
        changed.append(sentence)


def _fingerprint(network: Network) -> tuple[Any, ...]:
    """Everything of a network that a method must leave alone."""
    module = network.module
    weights = tuple(value.detach().numpy().tobytes() for value in module.state_dict().values())
    gradients = tuple((value.requires_grad, value.grad is None) for value in module.parameters())
    hooks = tuple(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())
    return weights, gradients, hooks, tuple(part.training for part in module.modules())
