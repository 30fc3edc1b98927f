"""Interruptions of every kind: then the same command goes on, nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from sokbench import journal
from sokbench.core.errors import InvalidInput
from sokbench.rows import Row
from sokbench.runner.execute import run
from sokbench.runner.processes import below

from .workshop import Watch, Workshop, processes_with

PROGRAM = """
import sys
import signal
# a shell starts what runs in its background with Ctrl-C switched off, and that is inherited
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sokbench import suites
from sokbench.runner.execute import run
from sokbench.runner.plan import plan
suite = suites.load(sys.argv[2])
summary = run(plan(suite, Path(sys.argv[3])), command=["sokbench"])
assert "torch" not in sys.modules
print(summary)
"""

SLOW_FIRST_TIME = """
    if not os.path.exists({mark!r}):
        subprocess.Popen([sys.executable, "-c", "import os,time;os.setsid();time.sleep(99)", {name!r}])
        open({mark!r}, "w").close()
        time.sleep(99)
"""


class Interrupted:
    """A run in a process of its own, that hangs in its third job."""

    def __init__(self, workshop: Workshop, networks: Path) -> None:
        self.workshop, self.name = workshop, uuid.uuid4().hex
        self.mark = workshop.root / "mark"
        body = SLOW_FIRST_TIME.format(mark=str(self.mark), name=self.name)
        quick, slow = workshop.method("quick", "pass"), workshop.method("slow", body)
        blocks = f'[[verify]]\nmethods = ["{quick}", "{slow}"]\nlimits.wall = 50\n'
        self.suite = workshop.suite(blocks, subset="indices:0,19")
        command = [sys.executable, "-c", PROGRAM, str(networks), str(self.suite.path), str(workshop.results)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, "it did not come to that"
            time.sleep(0.02)

    def wait_for_the_hanging_job(self) -> psutil.Process:
        """The worker, once it hangs."""
        self.wait_for(lambda: self.mark.exists() and bool(processes_with(self.name)))
        zygote = psutil.Process(self.process.pid).children()[0]
        return zygote.children()[0]

    def check_resumed(self, recorded: int) -> None:
        """What was recorded is there, nothing runs any more, and the rest runs now, once."""
        self.wait_for(lambda: processes_with(self.name) == [])
        rows = self.workshop.rows(self.suite)
        assert len(rows) == recorded
        summary = self.workshop.run(self.suite)
        assert (summary.done, summary.left) == (4 - recorded, 0)
        written = [row.key for row in journal.scan(self.workshop.results, "tiny", Row)]
        assert len(written) == len(set(written)) == 4
        assert self.workshop.run(self.suite).run == ""


@pytest.fixture
def interrupted(workshop: Workshop, networks_on_path: Path) -> Iterator[Interrupted]:
    one = Interrupted(workshop, networks_on_path)
    yield one
    one.process.kill()
    one.process.communicate()


def test_sigkill_of_the_parent(interrupted: Interrupted):
    worker = interrupted.wait_for_the_hanging_job()
    tree = [worker, *below(interrupted.process.pid)]
    interrupted.process.kill()
    interrupted.process.wait()
    psutil.wait_procs(tree, timeout=10)
    assert [process for process in tree if process.is_running()] == []
    interrupted.check_resumed(2)


def test_ctrl_c(interrupted: Interrupted):
    interrupted.wait_for_the_hanging_job()
    interrupted.process.send_signal(signal.SIGINT)
    output, _ = interrupted.process.communicate(timeout=20)
    assert interrupted.process.returncode == 0
    assert "interrupted: 2 jobs recorded in" in output
    assert "2 left; the same command goes on" in output
    interrupted.check_resumed(2)


def test_sigkill_of_a_worker(interrupted: Interrupted):
    interrupted.wait_for_the_hanging_job().kill()
    output, _ = interrupted.process.communicate(timeout=60)
    assert "4 jobs recorded" in output
    rows = interrupted.workshop.rows(interrupted.suite)
    assert [row.termination for row in rows] == ["ok", "ok", "crashed", "ok"]
    assert rows[2].stats["reason"] == "the worker died by SIGKILL"
    assert processes_with(interrupted.name) == []
    assert interrupted.workshop.plan(interrupted.suite, retry=("crashed",)).pending == 1


def test_sigkill_of_the_zygote_costs_one_job(interrupted: Interrupted):
    worker = interrupted.wait_for_the_hanging_job()
    for process in processes_with(interrupted.name):
        process.kill()  # it would be handed to init, out of our sight
    psutil.Process(worker.ppid()).kill()
    output, _ = interrupted.process.communicate(timeout=60)
    assert "4 jobs recorded" in output
    terminations = [row.termination for row in interrupted.workshop.rows(interrupted.suite)]
    assert terminations == ["ok", "ok", "crashed", "ok"]


def one_suite(workshop: Workshop):
    name = workshop.method("quick", "pass")
    return workshop.suite(f'[[verify]]\nmethods = ["{name}"]\n')


def test_a_torn_last_line_costs_one_row(workshop: Workshop):
    suite = one_suite(workshop)
    workshop.run(suite)
    (path,) = workshop.results.glob("tiny/*/rows.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.warns(UserWarning, match=r"rows.jsonl, line 3 is damaged"):
        plan = workshop.plan(suite)
    assert (plan.done, plan.missing) == (2, 1)
    # appending to the same file does not damage the next row
    journal.Journal(path.parent).append(msgspec.json.decode(whole.splitlines()[2], type=Row))
    with pytest.warns(UserWarning, match=r"line 3 is damaged"):
        assert len(workshop.rows(suite)) == 3


def test_rows_of_a_newer_schema_are_refused(workshop: Workshop):
    suite = one_suite(workshop)
    workshop.run(suite)
    (path,) = workshop.results.glob("tiny/*/rows.jsonl")
    path.write_bytes(path.read_bytes().replace(b'{"key"', b'{"schema":2,"key"', 1))
    with pytest.raises(InvalidInput, match=r"newer sokbench .schema 2, this one reads 1.; update sokbench"):
        workshop.plan(suite)


def test_a_read_only_directory_is_one_clear_line(workshop: Workshop, monkeypatch: pytest.MonkeyPatch):
    plan, real = workshop.plan(one_suite(workshop)), os.open

    def read_only(path, flags: int, *mode: int) -> int:  # a real one stops everyone but root
        if str(path).endswith("rows.jsonl") and flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(InvalidInput, match=r"cannot write results to .*Permission denied"):
        run(plan, progress=Watch(), command=["sokbench"])


def test_results_under_a_file_are_one_clear_line(workshop: Workshop):
    suite = one_suite(workshop)
    workshop.results.write_text("not a directory")
    with pytest.raises(InvalidInput, match=r"cannot write results to .*Not a directory"):
        workshop.run(suite)


def test_a_full_disk_loses_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch):
    suite = one_suite(workshop)
    plan = workshop.plan(suite)
    write, written = os.write, []

    def full_after_one(descriptor: int, data: bytes) -> int:
        if data.startswith(b"{") or data.startswith(b"\n{"):
            if written:
                return write(descriptor, data[:20])  # what a disk does with its last 20 bytes
            written.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full_after_one)
    with pytest.raises(InvalidInput, match="no space left for results"):
        run(plan, progress=Watch(), command=["sokbench"])
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        assert workshop.plan(suite).missing == 2
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        workshop.run(suite)
    with pytest.warns(UserWarning, match="line 2 is damaged"):
        assert len(workshop.rows(suite)) == 3
