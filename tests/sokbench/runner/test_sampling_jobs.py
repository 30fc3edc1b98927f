"""Sampling passes as jobs: begun ones go on, stopped ones answer what was asked, statistics reach who wants them."""

from __future__ import annotations

import numpy as np

from sokbench.parts import read_parts
from sokbench.rows import unpack
from sokbench.runner.recording import Stamp
from sokbench.runner.session import Session
from sokbench.runner.workers import Zygote

from .workshop import Workshop

ENDLESS = """
[[certify]]
certifiers = ["neyman_pearson"]
noise = { kind = "gaussian", sigma = 0.25 }
n = 1_000_000_000
statistics = true
limits.wall = 6
"""

STOPPED = """
[[certify]]
certifiers = ["neyman_pearson", "pixel_dp", "lipschitz"]
noise = { kind = "gaussian", sigma = 0.25 }
n0 = 50
n = 3_000
stop = [{ method = "neyman_pearson", radii = [0.1, "1/5"] }, { method = "lipschitz", radii = [0.05] }]
"""


def test_a_killed_pass_goes_on_inside_the_image(workshop: Workshop):
    suite = workshop.suite(ENDLESS, subset="indices:0")
    workshop.run(suite)
    (row, certificate) = workshop.rows(suite)
    assert (row.termination, certificate.termination) == ("timeout", "timeout")
    again = workshop.plan(suite, retry=("timeout",))
    (begun,) = again.parts.values()
    first = unpack(begun.counts)
    assert first.sum() > 1024
    assert begun.moments is not None
    assert begun.moments.shape == (2 * 784 + 2,)
    parts = []
    with Zygote() as zygote:
        session = Session(zygote, Stamp("run", "tiny", False), {}, lambda row: None, again.parts, parts.append)
        for group in again.groups:
            session.run(group.batches)
    second = unpack(parts[-1].counts)
    assert (second >= first).all()
    assert second.sum() > first.sum()
    assert parts[-1].seconds > begun.seconds
    # parts are no rows, and parts of other keys are not read
    assert len(workshop.rows(suite)) == 2
    assert read_parts(workshop.results, "tiny", ["another"]) == {}


def test_a_pass_that_may_stop(shared_workshop: Workshop):
    rows = shared_workshop.answers(shared_workshop.suite(STOPPED))
    samples = [row for row in rows if row.task == "sample"]
    certificates = [row for row in rows if row.task == "certify"]
    assert len(samples) == 3
    assert {row.method for row in certificates} == {"neyman_pearson", "pixel_dp", "lipschitz"}
    for row in samples:
        drawn = int(unpack(row.counts)[1].sum())
        assert 100 <= drawn <= 3000
        assert row.parameters["stop"][0] == {"method": "neyman_pearson", "parameters": {}, "radii": [0.1, 0.2]}
    assert any(unpack(row.counts)[1].sum() < 3000 for row in samples)
    for row in certificates:
        assert (row.termination, row.alpha) == ("ok", 0.001)
        assert row.parameters == {"n0": 50, "n": 3000, "stopped": True}


def test_statistics_are_recorded_with_the_counts(shared_workshop: Workshop):
    text = ENDLESS.replace("1_000_000_000", "2_000")
    row = next(row for row in shared_workshop.answers(shared_workshop.suite(text)) if row.task == "sample")
    found = row.stats["statistics"]
    assert (found["even"], found["odd"], found["dimension"]) == (1000, 1000, 784)
    assert 0 < found["soft_square"] <= found["soft_mean"] <= 1
    assert np.isfinite(found["product"])
