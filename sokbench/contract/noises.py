"""Which noises a certifier takes, asked of the certifier itself."""

from __future__ import annotations

from typing import Any

from ..core.certifier import Certifier
from ..core.errors import Unsupported
from ..core.registry import component


def all_noises() -> tuple[Any, ...]:
    """One noise of every kind."""
    examples: tuple[Any, ...] = component("randomized_smoothing.noise").EXAMPLES
    return examples


def noises_of(certifier: Certifier) -> list[Any]:
    """Those of `all_noises` that the certifier does not refuse."""
    return [noise for noise in all_noises() if supports(certifier, noise)]


def supports(certifier: Certifier, noise: Any) -> bool:
    try:
        certifier.radius(0.9, None, noise)
    except Unsupported:
        return False
    return True
