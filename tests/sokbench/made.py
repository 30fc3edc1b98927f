"""Rows made up for tests of what reads rows."""

from __future__ import annotations

import hashlib
from typing import Any

from sokbench.rows import Row


def row(**fields: Any) -> Row:
    """A verified row of an imaginary run; `fields` replace what it says."""
    said: dict[str, Any] = {
        "run": "20260101-000000-000000",
        "suite": "s",
        "task": "verify",
        "dataset": "cifar10",
        "data_sha256": "d",
        "index": 0,
        "label": 3,
        "model": "cifar10/cnn_a/adv8",
        "model_sha256": "m",
        "method": "crown",
        "method_version": "v",
        "norm": "linf",
        "radius": 8 / 255,
        "low": 0.0,
        "high": 1.0,
        "limit": 60.0,
        "memory": 2**33,
        "verdict": "verified",
        "seconds": 1.0,
        "finished": "2026-01-01T00:00:00Z",
    } | fields
    if said["task"] != "verify":
        said["radius"] = None
        said["verdict"] = fields.get("verdict", "unknown")
    return Row(key=hashlib.sha256(repr(sorted(said.items(), key=str)).encode()).hexdigest(), **said)


def rows(outcomes: str, **fields: Any) -> list[Row]:
    """Rows of inputs 0, 1, ...: v verified, f falsified, w misclassified, u unknown, t timeout, m memory, c crashed,
    n unsupported, s skipped, - no row."""
    kinds: dict[str, dict[str, Any]] = {
        "v": {},
        "f": {"verdict": "falsified"},
        "w": {"verdict": "falsified", "stats": {"clean_margin": -1.0}},
        "u": {"verdict": "unknown"},
        "t": {"verdict": "unknown", "termination": "timeout", "seconds": 60.5},
        "m": {"verdict": "unknown", "termination": "memory"},
        "c": {"verdict": "unknown", "termination": "crashed"},
        "n": {"verdict": "unknown", "termination": "unsupported", "stats": {"reason": "no such layer"}, "seconds": 0.0},
        "s": {"verdict": "unknown", "termination": "skipped", "seconds": 0.0},
    }
    return [row(**({"index": i} | fields | kinds[kind])) for i, kind in enumerate(outcomes) if kind != "-"]
