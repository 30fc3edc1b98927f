"""What a suite file may say. The shapes here are the documentation of the TOML: unknown fields are errors.

A suite has defaults (data, models, norm, radii, limits, seed) and blocks. A block names methods and may replace any of
the defaults for itself. `sokbench.suites.expand` turns the blocks into jobs.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..core.errors import InvalidInput

Number = float | str
"""A number, or a fraction as the field writes radii: "8/255"."""

MethodName = str | dict[str, Any]
"""A slug, a path to a Python file with one method, or a table {method = "pgd", restarts = 5} with its parameters."""

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one job may use; None takes the suite's value.

    wall: seconds for one input; memory: of the whole process tree, such as "8 GiB"; prepare: seconds for loading
    the network and preparing the method, which is done once and timed apart
    """

    wall: float | None = None
    memory: str | None = None
    prepare: float | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A network by name (zoo name, .onnx file or "module:attribute") with radii and noises of its own."""

    name: str
    radii: tuple[Number, ...] | None = None
    noise: dict[str, Any] | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A [[verify]] or [[radius]] block: methods on models. Everything but `methods` defaults to the suite's value.

    skip_after_timeouts: after this many timeouts in a row of one method on one model and radius, the rest is recorded
        as `skipped`, not run; never unless asked for
    """

    methods: tuple[MethodName, ...]
    models: tuple[str | Model, ...] | None = None
    dataset: str | None = None
    subset: str | None = None
    norm: str | None = None
    radii: tuple[Number, ...] | None = None
    box: tuple[float, ...] | None = None
    limits: Limits = Limits()
    seed: int | None = None
    skip_after_timeouts: int | None = None


class CertifyBlock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A [[certify]] block: one sampling pass per (model, noise, input), from which every certifier answers.

    noise: specification such as {kind = "gaussian", sigma = 0.5}; a model may name its own
    n0, n: samples for selecting the class and for estimating its probability; alpha: 1 - confidence
    stop: certifiers with radii, such as [{method = "neyman_pearson", radii = [0.25, 0.5]}]: sampling ends, before n, as
        soon as it is decided whether each certifies each of its radii, at the same alpha; radii in between are then
        less precise. Without it all n samples are drawn
    statistics: whether moments of the noise and soft outputs are summed up on the way, for certifiers that use them
    precision: "bfloat16" smooths another base classifier, the network with weights and noisy inputs rounded to bfloat16
    """

    certifiers: tuple[MethodName, ...]
    noise: dict[str, Any] | None = None
    n0: int = 100
    n: int = 10_000
    alpha: float = 0.001
    stop: tuple[dict[str, Any], ...] = ()
    statistics: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    models: tuple[str | Model, ...] | None = None
    dataset: str | None = None
    subset: str | None = None
    limits: Limits = Limits()
    seed: int | None = None


class PropertyBlock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A [[property]] block: methods on the instances of VNN-COMP categories.

    instances: files with lines "network.onnx,property.vnnlib,seconds", paths relative to the file (.gz is welcome), or
        folders of categories with a file instances.csv each
    expected: a CSV file with known answers, columns net_path, spec_path, verdict, basis and perhaps fastest_s; by
        default the expected.csv beside the categories, if there is one
    limits.wall: seconds at most; an instance that asks for less gets less. Without it, what each instance asks for
    """

    instances: tuple[str, ...]
    methods: tuple[MethodName, ...]
    expected: str | None = None
    limits: Limits = Limits()
    seed: int | None = None


class SuiteFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. box: valid range of every coordinate of an input, [] for none; skip_untrained: do without zoo
    networks that have a recipe and no weights here, and name them, instead of refusing to run."""

    name: str
    title: str
    description: str = ""
    dataset: str = ""
    subset: str = "all"
    models: tuple[str | Model, ...] = ()
    norm: str = "linf"
    radii: tuple[Number, ...] = ()
    box: tuple[float, ...] = (0.0, 1.0)
    limits: Limits = Limits()
    seed: int = 0
    skip_after_timeouts: int | None = None
    skip_untrained: bool = False
    verify: tuple[Block, ...] = ()
    radius: tuple[Block, ...] = ()
    certify: tuple[CertifyBlock, ...] = ()
    property: tuple[PropertyBlock, ...] = ()


def number(value: Number) -> float:
    """The value of a number or fraction. Raises `InvalidInput` for anything else."""
    try:
        if isinstance(value, str):
            top, _, bottom = value.partition("/")
            return float(top) / float(bottom or 1)
        return float(value)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f'{value!r} is neither a number nor a fraction like "8/255"') from None


def size(text: str) -> int:
    """Bytes of "8 GiB". Raises `InvalidInput` for anything that is not a number with a unit."""
    amount, _, unit = text.strip().partition(" ")
    try:
        result = int(float(amount) * _UNITS[unit.strip()])
    except (ValueError, KeyError):
        raise InvalidInput(f'{text!r} is not a size like "8 GiB"; units are {", ".join(_UNITS)}') from None
    if result <= 0:
        raise InvalidInput(f"the memory limit must be positive, not {text!r}")
    return result
