"""Checks of what a method says of itself."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ..core.certifier import Certifier
from ..core.method import FAMILIES, Attack, BoundingVerifier, CompleteVerifier
from ..core.problem import NORMS, TRANSFORMATIONS
from ..core.property_method import PropertyVerifier
from .exercise import Subject

_CLASSES: dict[str, tuple[type, ...]] = {
    "verifier": (BoundingVerifier, CompleteVerifier, PropertyVerifier),
    "attack": (Attack,),
    "certifier": (Certifier,),
}


def info_is_complete(subject: Subject) -> list[str]:
    info, cls = subject.info, type(subject)
    failures = [f"info.{name} is empty" for name in ("title", "summary", "paper") if not getattr(info, name).strip()]
    if info.family not in FAMILIES:
        failures.append(f"info.family {info.family!r} is none of: {', '.join(FAMILIES)}")
    norms = (*NORMS, *TRANSFORMATIONS) if info.kind == "certifier" else NORMS
    if not info.norms or not set(info.norms) <= set(norms):
        failures.append(f"info.norms is {info.norms}; name at least one of {', '.join(norms)} and no other")
    if info.kind not in _CLASSES or not isinstance(subject, _CLASSES[info.kind]):
        failures.append(f"info.kind is {info.kind!r}, but {cls.__name__} is not of that kind")
    if info.complete and not isinstance(subject, CompleteVerifier):
        failures.append("info.complete is set, but the class is no CompleteVerifier")
    if inspect.isabstract(cls):
        failures.append(f"{cls.__name__} is abstract: {', '.join(sorted(cls.__abstractmethods__))} missing")
    return failures + _file_failures(subject)


def _file_failures(subject: Subject) -> list[str]:
    slug, cls = subject.info.slug, type(subject)
    file, module = Path(inspect.getfile(cls)), inspect.getmodule(cls)
    failures = []
    if slug != file.stem or not re.fullmatch(r"[a-z][a-z0-9_]*", slug):
        failures.append(f"info.slug {slug!r} must be the file's name, {file.stem!r}, in lower case")
    if not (module and module.__doc__):
        failures.append("the file has no docstring; say what is relaxed, for what it is sound, and what it costs")
    return failures


def parameters_have_defaults(subject: Subject) -> list[str]:
    """`sokbench.method(slug)` works without parameters, and each parameter is stored under its own name."""
    failures = []
    for name, parameter in inspect.signature(type(subject)).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            failures.append(f"the parameter {name} has no default")
        if not hasattr(subject, name):
            failures.append(f"the parameter {name} is not stored under its name")
    return failures
