"""Whole runs: what is recorded, what is reported, sampling and certificates, and joblib."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sokbench import journal
from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.rows import Row, unpack
from sokbench.runner import spread
from sokbench.runner.execute import run
from sokbench.runner.recording import Stamp
from sokbench.runner.session import Session

from .workshop import Watch, Workshop, servers_marked

CERTIFY = """
[[certify]]
certifiers = ["neyman_pearson"]
noise = {kind = "gaussian", sigma = 0.25}
n0 = 20
n = 200
"""


def test_a_run_records_what_it_says(workshop: Workshop):
    name = workshop.method("sized", "return Outcome(Verdict.UNKNOWN, margin=-self.size, stats={'nan': float('nan')})")
    suite = workshop.suite(f'[[verify]]\nmethods = ["clean", {{method = "{name}", size = 2.0}}]\n', "first:3")
    watch = Watch()
    summary = workshop.run(suite, watch=watch)
    assert (summary.done, summary.left, summary.interrupted) == (6, 0, "")
    assert str(summary) == f"6 jobs recorded in {summary.run}"
    assert watch.left[-1] == 0.0
    rows = workshop.rows(suite)
    assert rows == watch.rows
    assert [row.index for row in rows] == [0, 1, 2] * 2
    wrong, right = rows[1], rows[3]
    assert (wrong.verdict, wrong.termination, wrong.label) == ("falsified", "ok", 1)
    assert wrong.witness is not None
    assert unpack(wrong.witness).shape == (1, 28, 28)
    assert (right.method, right.parameters, right.margin, right.stats) == ("sized", {"size": 2.0}, -2.0, {"nan": None})
    assert not right.shared
    (record,) = journal.read_runs(workshop.results, "tiny")
    assert record.command == "sokbench run tiny"
    assert record.indices == {"mnist5k first:3": [0, 1, 2]}
    assert set(record.models) == {"workshop_nets:pixels"}
    assert record.limits["wall_seconds"] == 20.0


@pytest.mark.parametrize(("edit", "counts"), [("# a comment", ["6", "0", "0"]), ("index += 1", ["3", "3", "0"])])
def test_only_edited_methods_run_again(workshop: Workshop, networks_on_path: Path, edit: str, counts: list[str]):
    name = workshop.method("edited", "pass")
    suite = workshop.suite(f'[[verify]]\nmethods = ["clean", "{name}"]\n')
    workshop.run(suite)
    assert workshop.run(suite).run == ""
    workshop.method("edited", f"{edit}\npass")
    # a program reads its methods once, so an edit shows in the next one
    lines = [
        f"import sys; sys.path.insert(0, {str(networks_on_path)!r})",
        "from pathlib import Path; from sokbench import suites; from sokbench.runner.plan import plan",
        f"p = plan(suites.load({str(suite.path)!r}), Path({str(workshop.results)!r}))",
        "print(p.done, p.stale, p.missing)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == counts


def test_one_sampling_pass_for_all_certificates(workshop: Workshop):
    suite = workshop.suite(CERTIFY)
    plan = workshop.plan(suite)
    assert (plan.missing, len(plan.groups)) == (6, 1)
    workshop.run(suite)
    rows = workshop.rows(suite)
    samples = [row for row in rows if row.task == "sample"]
    certificates = [row for row in rows if row.task == "certify"]
    assert [row.index for row in certificates] == [row.index for row in samples] == [0, 19, 28]
    for row in samples:
        assert row.counts is not None
        assert unpack(row.counts).sum(axis=1).tolist() == [20, 200]
    for row in certificates:
        assert row.parameters == {"n0": 20, "n": 200}
        assert row.prediction in range(-1, 10)
        assert row.certified_radius is not None
        assert (row.certified_radius > 0) == (row.prediction != -1)
        assert row.noise == {"kind": "gaussian", "sigma": 0.25}
    # another alpha asks for new certificates, from the recorded counts
    other = workshop.suite(CERTIFY + "alpha = 0.01\n")
    plan = workshop.plan(other)
    assert [batch.series.task for group in plan.groups for batch in group.batches] == ["certify"]
    assert len(plan.sampled) == 3
    workshop.run(other)
    newer = [row for row in workshop.rows(other) if row.alpha == 0.01]
    assert len(newer) == 3
    assert all(row.certified_radius >= old.certified_radius for row, old in zip(newer, certificates, strict=True))


def test_samples_do_not_depend_on_the_order_of_jobs(shared_workshop: Workshop):
    suite = shared_workshop.suite(CERTIFY)
    (group,) = shared_workshop.plan(suite).groups
    forth = shared_workshop.answers(suite)
    back: list[Row] = []
    session = Session(shared_workshop.zygote, Stamp("r", "s", False), {}, back.append)
    for index in (28, 0):
        session.run(batch.restricted({index}) for batch in group.batches)
    counts = {row.index: row.counts for row in forth if row.task == "sample"}
    assert {row.index: row.counts for row in back if row.task == "sample"} == {0: counts[0], 28: counts[28]}


def test_certificates_without_counts_say_why(shared_workshop: Workshop):
    rows = shared_workshop.answers(
        shared_workshop.suite(CERTIFY.replace("n = 200", "n = 100_000_000\nlimits.wall = 0.3"))
    )
    assert [row.termination for row in rows] == ["timeout"] * 6
    assert rows[-1].stats["reason"] == "no class counts: the sampling pass gave none"


def test_a_method_without_seed_is_seeded_all_the_same(shared_workshop: Workshop):
    body = """
    import random, numpy, torch
    drawn = [random.random(), float(numpy.random.rand()), float(torch.rand(()))]
    return Outcome(Verdict.UNKNOWN, stats={"drawn": drawn})
    """
    name = shared_workshop.method("random_one", body)
    suites = [
        shared_workshop.suite(f'[[verify]]\nmethods = ["{name}"]\n', subset, head=head)
        for subset, head in (("indices:0,19", ""), ("indices:19", ""), ("indices:19", "seed = 1"))
    ]
    drawn = [shared_workshop.answers(suite)[-1].stats["drawn"] for suite in suites]
    assert drawn[0] == drawn[1]
    assert drawn[2] != drawn[1]
    assert np.all(np.array(drawn) > 0)


def test_two_jobs_with_loky(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mark = str(tmp_path)
    monkeypatch.setenv("SOKBENCH_TEST_MARK", mark)
    name = workshop.method("quick", "print(os.environ['SOKBENCH_TEST_MARK'])")
    suite = workshop.suite(f'[[verify]]\nmethods = ["{name}", "clean"]\n{CERTIFY}', "indices:0,19,28,37")
    watch = Watch()
    summary = workshop.run(suite, jobs=2, watch=watch)
    assert (summary.done, summary.left) == (16, 0)
    rows = workshop.rows(suite)
    assert sorted(row.key for row in rows) == sorted(row.key for row in watch.rows)
    assert len({row.key for row in rows}) == 16
    assert all(row.shared for row in rows)
    assert len(list(journal.scan(workshop.results, "tiny", Row))) == 16, "appended once, not twice"
    assert workshop.plan(suite).pending == 0
    # the workers ran under marked servers, of which none is left
    assert {row.log for row in rows if row.method == "quick"} == {mark}
    assert servers_marked(mark) == []


def test_a_lost_joblib_worker_is_said_and_resumed(workshop: Workshop, tmp_path: Path):
    mark = str(tmp_path / "mark")
    body = f"""
    import psutil
    if not os.path.exists({mark!r}):
        open({mark!r}, "w").close()
        psutil.Process(os.getppid()).parent().kill()  # worker -> zygote -> joblib's worker
        time.sleep(99)
    """
    suite = workshop.suite(f'[[verify]]\nmethods = ["{workshop.method("kills", body)}"]\n')
    summary = workshop.run(suite, jobs=2)
    assert summary.interrupted == "a worker process died"
    assert summary.left >= 1
    assert "the same command goes on" in str(summary)
    resumed = workshop.run(suite)
    assert resumed.done == summary.left
    rows = list(journal.scan(workshop.results, "tiny", Row))
    assert len(rows) == len({row.key for row in rows}) == 3
    assert {row.termination for row in rows} == {"ok"}


def test_rows_come_back_from_machines_without_the_folder(shared_workshop: Workshop, monkeypatch: pytest.MonkeyPatch):
    plan = shared_workshop.plan(shared_workshop.suite('[[verify]]\nmethods = ["clean"]\n'))
    monkeypatch.setattr(spread._ZYGOTES, "mine", lambda: shared_workshop.zygote)
    stamp, folder = Stamp("r", "tiny", True), shared_workshop.results / "tiny" / "r"
    chunk = spread.Chunk(plan.groups[0].batches, {}, {}, stamp, str(folder))
    done = spread.run_chunk(chunk)
    assert (len(done.rows), done.recorded, folder.exists()) == (3, False, False)
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("")
    assert spread.run_chunk(chunk).recorded
    assert len(shared_workshop.rows(plan.suite)) == 3


def test_a_bad_number_of_jobs_or_backend(workshop: Workshop):
    plan = workshop.plan(workshop.suite('[[verify]]\nmethods = ["clean"]\n'))
    with pytest.raises(InvalidInput, match="at least 1, not 0"):
        run(plan, jobs=0)
    with pytest.raises(UnknownName, match="did you mean loky"):
        run(plan, jobs=2, backend="lokky")


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_missing_backend_is_one_clear_line(workshop: Workshop, backend: str, monkeypatch: pytest.MonkeyPatch):
    for module in ("distributed", "ray", "ray.util", "ray.util.joblib"):
        monkeypatch.setitem(sys.modules, module, None)
    plan = workshop.plan(workshop.suite('[[verify]]\nmethods = ["clean"]\n'))
    with pytest.raises(InvalidInput, match=f"backend {backend} is not installed: pip install"):
        run(plan, jobs=2, backend=backend, command=["sokbench"])
