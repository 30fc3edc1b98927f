"""Sampling passes as jobs: begun ones go on, stopped ones answer what was asked, statistics reach who wants them."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from msgspec.structs import replace

from sokbench.core.errors import InvalidInput
from sokbench.journal import Journal
from sokbench.parts import PARTS, Part, read_parts
from sokbench.rows import unpack
from sokbench.runner.recording import Stamp
from sokbench.runner.session import Session

from .workshop import Workshop

ENDLESS = """
[[certify]]
certifiers = ["neyman_pearson"]
noise = { kind = "gaussian", sigma = 0.25 }
n = 1_000_000_000
statistics = true
limits.wall = 3000
"""

STOPPED = """
[[certify]]
certifiers = ["neyman_pearson", "pixel_dp", "lipschitz"]
noise = { kind = "gaussian", sigma = 0.25 }
n0 = 50
n = 3_000
stop = [{ method = "neyman_pearson", radii = [0.1, "1/5"] }, { method = "lipschitz", radii = [0.05] }]
"""


class Enough(Exception):
    """Stands for whatever ends a run."""


def test_a_killed_pass_goes_on_inside_the_image(shared_workshop: Workshop):
    """A pass that would take hours is ended when it first tells how far it is, and again after it has gone on."""
    suite = shared_workshop.suite(ENDLESS, subset="indices:0")
    kept = []
    folder = shared_workshop.results / "tiny" / "run"

    def keep(part: Part) -> None:
        with closing(Journal(folder, PARTS)) as parts:
            parts.append(part)
        kept.append(part)
        if unpack(part.counts)[1].any():
            raise Enough

    for _ in range(2):
        plan = shared_workshop.plan(suite)
        session = Session(shared_workshop.zygote, Stamp("run", "tiny", False), {}, lambda row: None, plan.parts, keep)
        with pytest.raises(Enough):
            session.run(plan.groups[0].batches)
    first, last = (unpack(part.counts) for part in (kept[-2], kept[-1]))
    assert (last >= first).all()
    assert last.sum() > first.sum()
    assert kept[-1].seconds > kept[-2].seconds
    assert kept[-1].moments.shape == (2 * 784 + 2,)
    # parts are no rows, are found by their key alone, and count only for the code that made them
    assert shared_workshop.rows(suite) == []
    (key,) = plan.parts
    assert read_parts(shared_workshop.results, "tiny", [key]) == {key: kept[-1]}
    assert read_parts(shared_workshop.results, "tiny", ["another"]) == {}
    series = plan.groups[0].batches[0].series
    for version, counts in ((series.method_version, True), ("0" * 16, False)):
        parts = {key: replace(kept[-1], method_version=version)}
        session = Session(shared_workshop.zygote, Stamp("run", "tiny", False), {}, lambda row: None, parts, keep)
        assert (session._begun(series, 0) is not None) is counts


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


def test_precision_is_part_of_the_key_and_of_every_row(shared_workshop: Workshop):
    text = ENDLESS.replace("1_000_000_000", "400").replace("statistics = true", 'precision = "bfloat16"')
    written = {"float32": text.replace("bfloat16", "float32"), "bfloat16": text}
    found = {name: shared_workshop.answers(shared_workshop.suite(text)) for name, text in written.items()}
    for row in found["bfloat16"]:
        assert row.termination == "ok"
        assert row.parameters["precision"] == "bfloat16"
    assert all("precision" not in row.parameters for row in found["float32"])
    assert not {row.key for row in found["float32"]} & {row.key for row in found["bfloat16"]}
    with pytest.raises(InvalidInput, match="statistics are of float32 outputs"):
        shared_workshop.plan(shared_workshop.suite(text + "statistics = true\n"))


def test_statistics_are_recorded_with_the_counts(shared_workshop: Workshop):
    text = ENDLESS.replace("1_000_000_000", "2_000")
    row = next(row for row in shared_workshop.answers(shared_workshop.suite(text)) if row.task == "sample")
    found = row.stats["statistics"]
    assert (found["even"], found["odd"], found["dimension"]) == (1000, 1000, 784)
    assert 0 < found["soft_square"] <= found["soft_mean"] <= 1
    assert np.isfinite(found["product"])
