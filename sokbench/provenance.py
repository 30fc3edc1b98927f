"""What made a run: versions, hardware, commit, command. Names no path and no host."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from .core.registry import ROOT
from .rows import SCHEMA, Run
from .suites import Suite
from .suites.expand import Expansion
from .suites.series import Series

_OWN = "sokbench"


def new_run_name(now: datetime.datetime | None = None) -> str:
    """A name for a run: sorts by its date (UTC), and two runs of one second still differ."""
    now = now or datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def describe_run(name: str, suite: Suite, expansion: Expansion, command: Sequence[str]) -> Run:
    """The record of a run that starts now. command: as in `sys.argv`."""
    series = [batch.series for batch in expansion.batches]
    commit, clean = commit_and_clean(ROOT)
    return Run(
        schema=SCHEMA,
        run=name,
        suite=suite.name,
        suite_sha256=suite.sha256,
        command=command_line(command),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        commit=commit,
        clean=clean,
        python=platform.python_version(),
        packages=packages(),
        hardware=hardware(),
        seeds=sorted({one.seed for one in series}),
        limits=_limits(series),
        datasets=expansion.datasets,
        models=expansion.models,
        indices=expansion.indices,
    )


def _limits(series: Iterable[Series]) -> dict[str, float]:
    """The largest of each limit; what held for a job is in its row."""
    limits = {"wall_seconds": 0.0, "memory_bytes": 0.0, "prepare_seconds": 0.0}
    for one in series:
        limits["wall_seconds"] = max(limits["wall_seconds"], one.limit)
        limits["memory_bytes"] = max(limits["memory_bytes"], one.memory)
        limits["prepare_seconds"] = max(limits["prepare_seconds"], one.prepare_limit)
    return limits


def command_line(command: Sequence[str]) -> str:
    """The command as it would be typed, without the folders of absolute paths."""
    words = [Path(command[0]).name, *command[1:]] if command else []
    if words and words[0] == "__main__.py":
        words[0] = _OWN
    return " ".join(re.sub(r"(^|=)/\S*/([^/\s]+)", r"\1\2", word) for word in words)


def packages() -> dict[str, str]:
    """Versions of sokbench and of every package it requires, extras included, as far as they are installed."""
    versions = {}
    for name in (_OWN, *_required()):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return dict(sorted(versions.items()))


def _required() -> list[str]:
    try:
        lines = importlib.metadata.requires(_OWN) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    matches = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines)
    return sorted({match[0].lower() for match in matches if match})


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, graphics card and system, as far as they can be found out."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(logical=False) or 0,
        "threads": psutil.cpu_count(logical=True) or 0,
        "usable_threads": len(os.sched_getaffinity(0)) if sys.platform == "linux" else psutil.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": _gpus(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "machine": platform.machine(),
    }


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor()


def _gpus() -> list[str]:
    names = _output(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    return names.splitlines() if names else []


def commit_and_clean(root: Path) -> tuple[str, bool]:
    """(commit, whether the code is exactly that commit); results do not count. ("unknown", False) outside git."""
    commit = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    changed = _output(["git", "-C", str(root), "status", "--porcelain", "--", ".", ":(exclude)results"])
    if not commit or changed is None:
        return "unknown", False
    return commit, changed == ""


def _output(command: list[str]) -> str | None:
    """What a command prints, or None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
