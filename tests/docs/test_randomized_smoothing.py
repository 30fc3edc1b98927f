"""The page on randomized smoothing: its table names what each noise is certified by, its example runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

import sokbench
from randomized_smoothing.noise import EXAMPLES, NOISES, Noise
from sokbench import Unsupported, data
from sokbench.core.registry import catalog

PAGE = (Path(__file__).parents[2] / "docs" / "randomized_smoothing.md").read_text(encoding="utf-8")
ROWS = [re.findall(r"`(\w+)`", row) for row in PAGE.splitlines() if row.startswith("| `")]


def takes(slug: str, noise: Noise) -> bool:
    try:
        sokbench.certifier(slug).radius(0.9, None, noise)
    except Unsupported:
        return False
    return True


@pytest.mark.parametrize("noise", EXAMPLES, ids=[noise.kind for noise in EXAMPLES])
def test_the_table_is_what_certifiers_take(noise: Noise) -> None:
    named = {kind: set(certifiers) for kind, *certifiers in ROWS}
    named["discrete_gaussian"] = named["gaussian"] - named["discrete_gaussian"]  # "the same without"
    assert named[noise.kind] == {slug for slug in catalog("certifier") if takes(slug, noise)}


def test_noises_and_their_parameters_are_named() -> None:
    for kind, cls in NOISES.items():
        (line,) = [row for row in PAGE.splitlines() if row.startswith(f"| `{kind}` (")]
        assert re.search(r"\(([^)]*)\)", line)[1].split(", ") == [field.name for field in fields(cls)]  # type: ignore[arg-type,index]


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found: dict[str, object] = {"x": torch.from_numpy(data.load("mnist5k").test.image(3))}
    exec(code, found)
    assert found["certificate"].radius > 0.5  # type: ignore[attr-defined]
