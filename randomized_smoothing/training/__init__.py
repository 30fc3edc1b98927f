"""Training of base classifiers for smoothing: one objective per file, by name and with its parameters."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, cast

from sokbench.core.errors import UnknownName

if TYPE_CHECKING:
    from .base import SmoothingObjective

OBJECTIVES: Final[Mapping[str, str]] = {
    "augmentation": "Augmentation",
    "stability": "Stability",
    "smooth_adv": "SmoothAdv",
    "macer": "Macer",
    "adre": "Adre",
    "consistency": "Consistency",
    "smooth_mix": "SmoothMix",
}
"""Module and class of every objective."""


def objective(name: str, settings: Mapping[str, Any]) -> SmoothingObjective:
    """The objective of a name with its parameters. Raises `UnknownName`, and `InvalidInput` for unusable values."""
    if name not in OBJECTIVES:
        raise UnknownName("training objective", name, OBJECTIVES)
    cls = getattr(importlib.import_module(f".{name}", __name__), OBJECTIVES[name])
    known = [field.name for field in fields(cls)]
    for parameter in settings:
        if parameter not in known:
            raise UnknownName(f"parameter of {name}", parameter, known)
    return cast("SmoothingObjective", cls(**settings))
