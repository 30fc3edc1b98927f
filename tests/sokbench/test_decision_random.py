"""Random networks in ONNX and random properties: answers against sampling, complete methods against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import sokbench
from sokbench.core.evaluation import logits64
from sokbench.core.property import Case, Conjunction, Property
from sokbench.core.vnnlib import parse_property
from sokbench.core.vnnlib_text import write_property
from sokbench.decision import decide
from tests.sokbench.onnx_files import write_chain

COMPLETE = ("reluval", "beta_crown")


def question(generator: np.random.Generator, folder: Path) -> tuple[Path, Property]:
    """A network of two hidden layers, and one or two boxes with one to three unsafe sets of one to three rows."""
    inputs, hidden, outputs = (int(generator.integers(low, high)) for low, high in ((1, 4), (2, 6), (1, 4)))
    widths = (inputs, hidden, hidden, outputs)
    layers = [(generator.normal(size=(b, a)).tolist(), generator.normal(size=b).tolist()) for a, b in pairwise(widths)]
    cases = []
    for _ in range(int(generator.integers(1, 3))):
        lower = generator.normal(size=inputs)
        upper = lower + np.abs(generator.normal(size=inputs)) * generator.choice([0.0, 1.0, 2.0], size=inputs)
        unsafe = []
        for _ in range(int(generator.integers(1, 4))):
            rows = int(generator.integers(1, 4))
            weight = generator.choice([-1.0, 0.0, 0.5, 1.0], size=(rows, outputs))
            unsafe.append(Conjunction(weight, generator.normal(size=rows)))
        cases.append(Case(lower, upper, tuple(unsafe)))
    return write_chain(folder / "random.onnx", layers), Property(inputs, outputs, tuple(cases))


def sampled(net: sokbench.Network, asked: Property, generator: np.random.Generator) -> float:
    """The least excess over the unsafe sets at corners and random points."""
    least = np.inf
    for case in asked.cases:
        share = generator.random((2000, asked.inputs))
        share[:64] = share[:64].round()
        y = logits64(net, torch.tensor(case.lower + share * (case.upper - case.lower))).numpy()
        least = min(least, *(case.excess(row) for row in y))
    return least


# a smaller seed is no simpler example, so failures are not shrunk
@settings(max_examples=15, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 2**32), distance=st.sampled_from([-0.05, 0.0, 0.03, 0.3]))
def test_answers_agree_with_sampling_and_each_other(
    tmp_path_factory: pytest.TempPathFactory, seed: int, distance: float
):
    generator = np.random.default_rng(seed)
    path, asked = question(generator, tmp_path_factory.mktemp("net"))
    net = sokbench.load_network(path)
    # moved, so that what was sampled lies at a given distance inside (positive) or outside of the unsafe sets
    shift = sampled(net, asked, generator) + distance
    moved = [replace(c, bound=c.bound + shift) for case in asked.cases for c in case.unsafe]
    parts = iter(moved)
    cases = tuple(replace(case, unsafe=tuple(next(parts) for _ in case.unsafe)) for case in asked.cases)
    asked = parse_property(write_property(replace(asked, cases=cases)))
    least = sampled(net, asked, generator)
    verdicts = {}
    for slug in (*COMPLETE, "crown"):
        # at distance 0 a tie decides, and proving that there is none may take for ever
        outcome = decide(sokbench.method(slug), net, asked, 60.0 if distance else 1.0, path)
        verdicts[slug] = str(outcome.verdict)
        if outcome.verdict == "verified":
            assert least > 0, slug
        if outcome.margin is not None:
            assert outcome.margin <= least + 1e-9, slug
    decided = {verdicts[slug] for slug in COMPLETE} - {"unknown"}
    assert len(decided) <= 1
    assert distance == 0.0 or (len(decided) == 1 and verdicts["beta_crown"] != "unknown")
