"""`sokbench doctor`: what is usable here, and how to get the rest."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Callable
from typing import Any

import click
import msgspec

from .options import examples, json_option, print_json


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: usable or not, what was found, and what to do about it."""

    group: str
    name: str
    usable: bool
    detail: str
    advice: str = ""


def _package(name: str, distribution: str, extra: str = "") -> Finding:
    if importlib.util.find_spec(name) is None:
        target = f'".[{extra}]"' if extra else distribution
        return Finding("", distribution, False, "not installed", f"pip install {target}")
    return Finding("", distribution, True, importlib.metadata.version(distribution))


def _gurobi() -> Finding:
    found = _package("gurobipy", "gurobipy")
    if not found.usable:
        return found
    import gurobipy

    try:
        with gurobipy.Env(empty=True) as env:
            env.setParam("OutputFlag", 0)
            env.start()
            with gurobipy.Model(env=env) as model:
                model.addVars(2001)
                model.update()
                model.optimize()
    except gurobipy.GurobiError as error:
        bundled = "size-limited" in str(error)
        detail = f"{found.detail}, bundled licence: models up to 2000 variables" if bundled else str(error)
        return Finding("", "gurobipy", bundled, detail, "a full licence lifts the limit; HiGHS is used beyond it")
    return Finding("", "gurobipy", True, f"{found.detail}, full licence")


def _torch_devices() -> list[Finding]:
    import torch

    cpu = Finding("", "cpu", True, f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    if not torch.cuda.is_available():
        return [cpu, Finding("", "cuda", False, "no CUDA device", "not needed; every method runs on the CPU")]
    return [cpu, Finding("", "cuda", True, torch.cuda.get_device_name())]


def _datasets() -> list[Finding]:
    from .. import data

    findings = []
    for name in data.names():
        found = data.availability(name)
        detail = found.detail if found.ready else "not on this machine"
        findings.append(Finding("", name, found.ready, detail, "" if found.ready else found.detail))
    return findings


def _solvers() -> list[Finding]:
    return [
        _package("highspy", "highspy"),
        _gurobi(),
        _package("clarabel", "clarabel"),
        _package("z3", "z3-solver", "smt"),
        _package("maraboupy", "maraboupy", "marabou"),
    ]


def _executors() -> list[Finding]:
    return [_package("joblib", "joblib"), _package("dask", "dask", "dask"), _package("ray", "ray", "ray")]


def _tools() -> list[Finding]:
    lirpa = _package("auto_LiRPA", "auto_LiRPA")
    advice = "" if lirpa.usable else "from its authors' repository; what is on PyPI is for older torch"
    return [_package("onnxruntime", "onnxruntime"), msgspec.structs.replace(lirpa, advice=advice)]


GROUPS: dict[str, Callable[[], list[Finding]]] = {
    "solvers": _solvers,
    "tools of others": _tools,
    "executors": _executors,
    "devices": _torch_devices,
    "data sets": _datasets,
}


def examine() -> list[Finding]:
    """Everything `doctor` looks at, in order."""
    return [msgspec.structs.replace(found, group=group) for group, look in GROUPS.items() for found in look()]


@click.command("doctor")
@json_option
@examples("sokbench doctor", "sokbench doctor --json")
def command(as_json: bool) -> None:
    """Say which solvers, licences, devices and data sets are usable here, and how to get the others."""
    findings = examine()
    if as_json:
        print_json(findings)
        return
    _print(findings)


def _print(findings: list[Any]) -> None:
    group = ""
    for found in findings:
        if found.group != group:
            group = found.group
            click.secho(f"\n{group}", bold=True)
        mark = click.style("ok     ", fg="green") if found.usable else click.style("missing", fg="yellow")
        click.echo(f"  {mark}  {found.name:<14} {found.detail}")
        if found.advice:
            click.echo(f"  {'':7}  {'':14} {found.advice}")
