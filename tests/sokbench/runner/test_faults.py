"""What a method may do wrong, and what must come of it: one row that says so, nothing left behind, and the next job."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from sokbench.rows import Row

from .workshop import Workshop, processes_with

HARD_MILP = """
import highspy, numpy as np
h = highspy.Highs()
h.setOptionValue("output_flag", False)
rows, columns = 8, 60
generator = np.random.default_rng(0)
a = generator.integers(1, 100, (rows, columns))
for _ in range(columns):
    h.addBinary()
for row in a:  # market split: no solver decides it in time
    h.addRow(int(row.sum()) // 2, int(row.sum()) // 2, columns, np.arange(columns), row.astype(float))
h.run()
"""


def one_method(workshop: Workshop, slug: str, body: str, limits: str = "limits.wall = 0.6", **more: str) -> list[Row]:
    """Rows of one method on three inputs."""
    name = workshop.method(slug, body, **more)
    rows = workshop.answers(workshop.suite(f'[[verify]]\nmethods = ["{name}"]\n{limits}\n'))
    assert len(rows) == 3
    return rows


@pytest.fixture
def workshop(shared_workshop: Workshop) -> Workshop:
    return shared_workshop


@pytest.fixture
def first_only(tmp_path: Path) -> str:
    """Python code that is true in the first job only."""
    mark = str(tmp_path / "mark")
    return f"not os.path.exists({mark!r}) and open({mark!r}, 'w')"


def test_a_loop_in_c_is_killed_at_the_limit(workshop: Workshop, first_only: str):
    body = f"if {first_only}:\n" + "\n".join("    " + line for line in HARD_MILP.strip().splitlines())
    rows = one_method(workshop, "in_c", body)
    assert [row.termination for row in rows] == ["timeout", "ok", "ok"]
    assert 0.6 <= rows[0].seconds < 2.0
    assert rows[0].stats["reason"] == "killed at the limit of 0.6 s"


@pytest.mark.parametrize(
    "child",
    [
        "import signal,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);time.sleep(99)",
        "import os,time;os.setsid();os.fork() and os._exit(0);os.setsid();os.fork() and os._exit(0);time.sleep(99)",
        "import os,time\nwhile True: os.fork() and os._exit(0); time.sleep(0.002)",
    ],
    ids=["ignores SIGTERM", "double-forked daemon", "flees from process to process"],
)
def test_children_do_not_outlive_the_limit(workshop: Workshop, first_only: str, child: str):
    mark = uuid.uuid4().hex
    body = f"""
    if {first_only}:
        subprocess.Popen([sys.executable, "-c", {child!r}, "{mark}"])
        time.sleep(99)
    """
    rows = one_method(workshop, "forks", body, "limits.wall = 1.0")
    assert [row.termination for row in rows] == ["timeout", "ok", "ok"]
    assert processes_with(mark) == []


def test_children_do_not_outlive_a_crash_or_an_answer(workshop: Workshop, first_only: str):
    mark = uuid.uuid4().hex
    body = f"""
    subprocess.Popen([sys.executable, "-c", "import time;time.sleep(99)", "{mark}"], start_new_session=True)
    if {first_only}:
        os.kill(os.getpid(), signal.SIGSEGV)
    """
    rows = one_method(workshop, "leaves", body, "limits.wall = 10")
    assert [row.termination for row in rows] == ["crashed", "ok", "ok"]
    assert rows[0].stats["reason"] == "the worker died by SIGSEGV"
    assert rows[1].stats["left_running"]
    assert processes_with(mark) == []


def test_memory_of_the_whole_tree_is_limited(workshop: Workshop):
    body = """
    child = "import time; data = b'x' * (600 * 2**20); time.sleep(99)"
    subprocess.run([sys.executable, "-c", child])
    """
    rows = one_method(workshop, "eats", body, 'limits = {wall = 30, memory = "500 MiB"}')
    assert [row.termination for row in rows] == ["memory"] * 3
    assert "the limit is 0.488281 GiB" in rows[0].stats["reason"]


@pytest.mark.parametrize(
    "allocation",
    ["bytearray(64 * 2**30)", "__import__('torch').empty(16 * 2**30)", "__import__('numpy').ones(8 * 2**30)"],
    ids=["python", "torch", "numpy"],
)
def test_an_absurd_allocation_is_a_memory_row(workshop: Workshop, allocation: str):
    rows = one_method(workshop, "absurd", allocation, "limits.wall = 20")
    assert [row.termination for row in rows] == ["memory"] * 3
    assert rows[1].prepare_seconds == rows[0].prepare_seconds, "the worker survives a failed allocation"


def test_an_exception_is_a_crash_with_traceback(workshop: Workshop):
    rows = one_method(workshop, "raises", "raise ValueError('a bad\\nday')", "limits.wall = 20")
    assert [row.termination for row in rows] == ["crashed"] * 3
    assert rows[0].stats["reason"] == "ValueError: a bad"
    assert "Traceback" in rows[0].log
    assert "raises.py" in rows[0].log


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "SystemExit: 3"),
        ("os._exit(3)", "the worker exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the worker died by SIGKILL"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_ways_to_end_the_worker(workshop: Workshop, body: str, reason: str):
    rows = one_method(workshop, "ends", body, "limits.wall = 20")
    assert [row.termination for row in rows] == ["crashed"] * 3
    assert [row.stats["reason"] for row in rows] == [reason] * 3


def test_unsupported_is_not_a_crash(workshop: Workshop):
    rows = one_method(workshop, "cannot", "raise Unsupported('only on Sundays')", "limits.wall = 20")
    assert [(row.termination, row.stats["reason"]) for row in rows] == [("unsupported", "only on Sundays")] * 3


def test_prints_are_kept_as_log_and_disturb_nothing(workshop: Workshop):
    body = """
    print("from python", index)
    os.system("echo from a child")
    import ctypes
    ctypes.CDLL(None).puts(b"from C")
    sys.stderr.write("an error without newline")
    """
    rows = one_method(workshop, "prints", body, "limits.wall = 20")
    assert [row.termination for row in rows] == ["ok"] * 3
    for row in rows:
        for text in ("from python", "from a child", "from C", "an error without newline"):
            assert text in row.log
        assert row.log.count("from python") == 1


def test_endless_printing_fills_no_disk(workshop: Workshop):
    body = """
    while True:
        print("x" * 100_000)
    """
    rows = one_method(workshop, "shouts", body)
    assert [row.termination for row in rows] == ["timeout"] * 3
    assert all(len(row.log) < 5_000 for row in rows)


def test_an_answer_after_the_deadline_is_a_timeout(workshop: Workshop):
    rows = one_method(workshop, "late", "time.sleep(1.2)", "limits.wall = 0.6")
    assert [row.termination for row in rows] == ["timeout"] * 3


def test_a_forked_copy_of_the_worker_cannot_answer(workshop: Workshop):
    rows = one_method(workshop, "copies", "os.fork()", "limits.wall = 20")
    assert [row.termination for row in rows] == ["ok"] * 3
    assert len({row.key for row in rows}) == 3


@pytest.mark.parametrize(
    ("prepare", "termination", "reason"),
    [
        ("raise RuntimeError('no licence')", "crashed", "while preparing: RuntimeError: no licence"),
        ("raise Unsupported('no pooling')", "unsupported", "while preparing: no pooling"),
        ("time.sleep(99)", "timeout", "while preparing: killed at the limit of 0.5 s"),
        ("os._exit(1)", "crashed", "while preparing: the worker exited with code 1"),
    ],
)
def test_a_failing_preparation_is_the_answer_to_every_job(workshop: Workshop, prepare, termination, reason):
    limits = "limits = {wall = 20, prepare = 0.5}"
    rows = one_method(workshop, "unprepared", "pass", limits, prepare=prepare)
    assert [(row.termination, row.stats["reason"]) for row in rows] == [(termination, reason)] * 3


def test_preparation_is_timed_apart(workshop: Workshop):
    rows = one_method(workshop, "slow_start", "pass", "limits.wall = 20", prepare="time.sleep(0.3)")
    assert all(row.prepare_seconds >= 0.3 and row.seconds < 0.3 for row in rows)


def test_a_radius_search_that_is_killed_keeps_what_it_proved(workshop: Workshop):
    body = """
    if problem.ball.radius > 0.03:
        time.sleep(99)
    return Outcome(Verdict.VERIFIED)
    """
    name = workshop.method("half", body)
    rows = workshop.answers(workshop.suite(f'[[radius]]\nmethods = ["{name}"]\nlimits.wall = 0.6\n'))
    assert [(row.termination, row.certified_radius) for row in rows] == [("timeout", 0.02)] * 3


def test_skipping_after_timeouts_is_said(workshop: Workshop):
    name = workshop.method("sleeps", "time.sleep(99)")
    block = f'[[verify]]\nmethods = ["{name}"]\nlimits.wall = 0.2\n'
    rows = workshop.answers(workshop.suite(block + "skip_after_timeouts = 1\n"))
    assert [row.termination for row in rows] == ["timeout", "skipped", "skipped"]


def test_an_attack_has_no_certified_radius(workshop: Workshop):
    rows = workshop.answers(workshop.suite('[[radius]]\nmethods = ["pgd"]\n'))
    assert [(row.termination, row.certified_radius) for row in rows] == [("unsupported", None)] * 3


def test_a_network_of_another_shape_is_said(workshop: Workshop):
    rows = workshop.answers(workshop.suite('[[verify]]\nmethods = ["clean"]\nmodels = ["workshop_nets:narrow"]\n'))
    assert [row.termination for row in rows] == ["crashed"] * 3
    assert "does not accept inputs of shape (1, 28, 28)" in rows[0].stats["reason"]
