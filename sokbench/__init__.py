"""sokbench: benchmark harness and leaderboard generator for certified robustness of neural networks.

The public interface. Names are loaded on first use, so that importing the package stays instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.bounds import bounds as bounds
    from .core.certifier import ABSTAIN as ABSTAIN
    from .core.certifier import Certificate as Certificate
    from .core.certifier import Certifier as Certifier
    from .core.deadline import Deadline as Deadline
    from .core.deadline import OutOfTime as OutOfTime
    from .core.errors import InvalidInput as InvalidInput
    from .core.errors import UnknownName as UnknownName
    from .core.errors import Unsupported as Unsupported
    from .core.method import Attack as Attack
    from .core.method import BoundingVerifier as BoundingVerifier
    from .core.method import CompleteVerifier as CompleteVerifier
    from .core.method import MethodInfo as MethodInfo
    from .core.network import Network as Network
    from .core.outcome import Outcome as Outcome
    from .core.outcome import Termination as Termination
    from .core.outcome import Verdict as Verdict
    from .core.problem import Ball as Ball
    from .core.problem import Problem as Problem
    from .core.radius import certified_radius as certified_radius
    from .core.registry import certifier as certifier
    from .core.registry import method as method
    from .networks import load_network as load_network

__version__ = "0.1.0"

_HOME = {
    "ABSTAIN": "core.certifier",
    "Attack": "core.method",
    "Ball": "core.problem",
    "BoundingVerifier": "core.method",
    "Certificate": "core.certifier",
    "Certifier": "core.certifier",
    "CompleteVerifier": "core.method",
    "Deadline": "core.deadline",
    "InvalidInput": "core.errors",
    "MethodInfo": "core.method",
    "Network": "core.network",
    "OutOfTime": "core.deadline",
    "Outcome": "core.outcome",
    "Problem": "core.problem",
    "Termination": "core.outcome",
    "UnknownName": "core.errors",
    "Unsupported": "core.errors",
    "Verdict": "core.outcome",
    "bounds": "core.bounds",
    "certified_radius": "core.radius",
    "certifier": "core.registry",
    "load_network": "networks",
    "method": "core.registry",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sokbench' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sokbench.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
