"""Plans against rows that are written here, without running anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sokbench.core.errors import InvalidInput, UnknownName
from sokbench.journal import Journal
from sokbench.runner.keys import Keys
from sokbench.runner.plan import Plan
from sokbench.runner.recording import Reply, Stamp, row_of
from sokbench.suites.series import Batch, Series

from .workshop import Workshop

BLOCKS = """
[[verify]]
methods = ["clean", {method = "pgd", restarts = 2}]
radii = [0.01, "8/255"]
[[radius]]
methods = ["ibp"]
[[certify]]
certifiers = ["neyman_pearson"]
noise = {kind = "gaussian", sigma = 0.25}
"""


def record(plan: Plan, workshop: Workshop, termination: str = "ok", version: str | None = None, run: str = "1") -> None:
    """Write a row for everything that is pending."""
    journal = Journal(workshop.results / plan.suite.name / run)
    for group in plan.groups:
        for batch in group.batches:
            series = batch.series
            if version is not None:
                series = msgspec.structs.replace(series, method_version=version)
            for index, label in zip(batch.indices, batch.labels, strict=True):
                key = Keys(batch.series).of(index)
                journal.append(row_of(series, index, label, key, Stamp(run, "tiny", False), Reply(termination)))
    journal.close()


def counts(plan: Plan) -> tuple[int, int, int, int]:
    return plan.done, plan.missing, plan.stale, plan.retried


def test_everything_is_missing_at_first_and_done_at_last(workshop: Workshop):
    suite = workshop.suite(BLOCKS)
    plan = workshop.plan(suite)
    assert counts(plan) == (0, 3 * (4 + 1 + 2), 0, 0)
    assert [status.series.method for status in plan.statuses] == [
        "clean", "clean", "pgd", "pgd", "ibp", "sampling", "neyman_pearson",
    ]  # fmt: skip
    assert [group.jobs for group in plan.groups] == [6, 6, 3, 6]
    assert plan.worst_case_seconds == 21 * 20.0 + 4 * 300.0
    record(plan, workshop)
    assert counts(workshop.plan(suite)) == (21, 0, 0, 0)
    assert workshop.plan(suite).groups == ()


def test_rows_of_other_code_are_stale(workshop: Workshop):
    suite = workshop.suite(BLOCKS)
    record(workshop.plan(suite), workshop, version="old")
    assert counts(workshop.plan(suite)) == (0, 0, 21, 0)
    record(workshop.plan(suite), workshop, run="2")
    assert counts(workshop.plan(suite)) == (21, 0, 0, 0)


def test_retry_and_skipped(workshop: Workshop):
    suite = workshop.suite(BLOCKS)
    record(workshop.plan(suite), workshop, termination="timeout")
    assert workshop.plan(suite).pending == 0
    assert counts(workshop.plan(suite, retry=("timeout",))) == (0, 0, 0, 21)
    assert workshop.plan(suite, retry=("crashed",)).pending == 0
    with pytest.raises(UnknownName, match="did you mean timeout"):
        workshop.plan(suite, retry=("timeouts",))
    record(workshop.plan(suite, retry=("timeout",)), workshop, termination="skipped", run="2")
    assert counts(workshop.plan(suite)) == (0, 0, 0, 21), "skipped without a policy that skips"


def test_a_new_sampling_pass_makes_its_certificates_stale(workshop: Workshop):
    suite = workshop.suite(BLOCKS)
    record(workshop.plan(suite), workshop)
    record(workshop.plan(suite, only=("task=sample", "index=19"), retry=("ok",)), workshop, run="2")
    plan = workshop.plan(suite)
    assert counts(plan) == (20, 0, 1, 0)
    assert plan.groups[0].batches[0].series.task == "certify"
    assert plan.groups[0].batches[0].indices == (19,)


@pytest.mark.parametrize(
    ("only", "jobs"),
    [
        (("pgd",), 6),
        (("pgd", "clean"), 12),
        (("c*",), 6),
        (("workshop_nets:*",), 21),
        (("task=radius",), 3),
        (("task=verify", "index=0"), 4),
        (("neyman_pearson",), 6),
        (("neyman_pearson", "index=0"), 2),
        (("method=sampling",), 3),
    ],
)
def test_only(workshop: Workshop, only: tuple[str, ...], jobs: int):
    assert workshop.plan(workshop.suite(BLOCKS), only).pending == jobs


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("pdg", "unknown method or model of this suite 'pdg'; did you mean pgd"),
        ("method=clear", "unknown method of this suite 'clear'; did you mean clean"),
        ("colour=red", "select by task, method, model or index"),
    ],
)
def test_a_pattern_nothing_matches_is_an_error(workshop: Workshop, only: str, message: str):
    with pytest.raises(InvalidInput, match=message):
        workshop.plan(workshop.suite(BLOCKS), (only,))


def test_one_job_named_twice_is_one_job(workshop: Workshop):
    twice = workshop.suite('[[verify]]\nmethods = ["clean"]\n[[verify]]\nmethods = ["clean"]\nsubset = "first:20"\n')
    plan = workshop.plan(twice)
    assert len(plan.statuses) == 1
    assert plan.pending == 21  # 28 is not among the first 20


def test_planning_loads_no_torch(workshop: Workshop, networks_on_path: Path):
    suite = workshop.suite(BLOCKS)
    lines = [
        f"import sys; sys.path.insert(0, {str(networks_on_path)!r})",
        "from pathlib import Path; from sokbench import suites; from sokbench.runner.plan import plan",
        "import sokbench.runner.execute",
        f"assert plan(suites.load({str(suite.path)!r}), Path({str(workshop.results)!r})).pending == 21",
        "print([name for name in ('torch', 'pandas', 'cvxpy', 'highspy') if name in sys.modules])",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


SERIES = Series(
    task="verify",
    dataset="d",
    data_sha256="0",
    input_shape=(1,),
    model="m",
    model_source="m",
    model_sha256="1",
    method="crown",
    method_source="",
    method_version="v",
    parameters={"a": 1, "b": [0.1, None]},
    norm="linf",
    radius=0.1,
    low=0.0,
    high=1.0,
    limit=60.0,
    prepare_limit=300.0,
    memory=2**33,
    seed=0,
)


@pytest.mark.parametrize(
    "change",
    [
        {"task": "radius"},
        {"data_sha256": "2"},
        {"model_sha256": "2"},
        {"method": "ibp"},
        {"parameters": {"a": 1}},
        {"norm": "l2"},
        {"radius": 0.1 + 1e-16},
        {"low": None},
        {"high": 2.0},
        {"noise": {"kind": "gaussian", "sigma": 0.5}},
        {"alpha": 0.001},
        {"limit": 61.0},
        {"prepare_limit": 1.0},
        {"memory": 1},
        {"seed": 1},
        {"counts": SERIES},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_can_change_the_answer_changes_the_key(change: dict):
    assert Keys(SERIES).of(3) != Keys(msgspec.structs.replace(SERIES, **change)).of(3)


@pytest.mark.parametrize("change", [{"dataset": "x"}, {"model": "x"}, {"method_version": "x"}, {"skip_after": 3}])
def test_names_and_code_do_not(change: dict):
    assert Keys(SERIES).of(3) == Keys(msgspec.structs.replace(SERIES, **change)).of(3)


def test_the_order_of_parameters_does_not():
    other = msgspec.structs.replace(SERIES, parameters={"b": [0.1, None], "a": 1})
    assert Keys(SERIES).of(0) == Keys(other).of(0)


@given(st.sets(st.integers(0, 10**7), max_size=50))
def test_keys_of_inputs_differ(indices: set[int]):
    keys = Keys(SERIES)
    assert len({keys.of(index) for index in indices}) == len(indices)


def test_restricting_a_batch_keeps_labels_with_their_inputs():
    batch = Batch(SERIES, (3, 1, 2), (30, 10, 20))
    assert batch.restricted({2, 3}) == Batch(SERIES, (3, 2), (30, 20))
