"""How fast the runner is, against its targets. Repeat with: python bench/runner.py

Measures, on whatever else the machine is doing: the round trip of a job that does nothing; how long after its limit a
solver stuck in C++ is dead, with everything it started, and how soon the next job starts; planning against a million
recorded rows, and the parent's memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from sokbench import suites
from sokbench.rows import SCHEMA
from sokbench.runner.keys import Keys
from sokbench.runner.processes import below
from sokbench.runner.protocol import Ask, Open
from sokbench.runner.recording import Reply, Stamp, row_of
from sokbench.runner.workers import Stopped, Worker, Zygote
from sokbench.suites.expand import expand

METHOD = """
from typing import ClassVar
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Verdict

class Measured(CompleteVerifier):
    info: ClassVar[MethodInfo] = MethodInfo(
        slug="{slug}", title="t", kind="verifier", family="baseline", norms=("linf",), summary="s", paper="p"
    )

    def decide(self, problem, deadline):
        {body}
        return Outcome(Verdict.UNKNOWN)
"""

# a market split problem: no solver decides it in time; the child would outlive a careless runner
STUCK = """
        import highspy, numpy as np, subprocess
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        h = highspy.Highs()
        h.setOptionValue("output_flag", False)
        a = np.random.default_rng(0).integers(1, 100, (8, 60))
        for _ in range(60):
            h.addBinary()
        for row in a:
            h.addRow(int(row.sum()) // 2, int(row.sum()) // 2, 60, np.arange(60), row.astype(float))
        h.run()
"""

NETWORK = """
def classifier():
    import torch
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.eye(10)[0])
    return network
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="recorded rows to plan against")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.rows)
    if options.json:
        print(json.dumps({name: value for name, value, _, _ in figures}, indent=1))
        return
    for name, value, unit, target in figures:
        verdict = "" if target is None else f"  target {target:g}: {'met' if value <= target else 'MISSED'}"
        print(f"{name:<58} {value:>9.3f} {unit:<5}{verdict}")


Figure = tuple[str, float, str, float | None]


def measure(folder: Path, rows: int) -> list[Figure]:
    """All figures: (what, value, unit, target)."""
    (folder / "bench_network.py").write_text(NETWORK)
    for slug, body in (("nothing", "pass"), ("stuck", STUCK.strip())):
        (folder / f"{slug}.py").write_text(METHOD.format(slug=slug, body=body))
    sys.path.insert(0, str(folder))
    started = time.monotonic()
    with Zygote() as zygote:
        start = time.monotonic() - started
        return [
            ("start of the worker server (imports torch)", start, "s", None),
            *round_trips(zygote, folder),
            *deaths(zygote, folder),
            *planning(folder, rows),
        ]


def opening(folder: Path, slug: str) -> Open:
    from sokbench import data

    sha256 = data.load("mnist5k").test.sha256
    source = str(folder / f"{slug}.py")
    return Open("verify", "bench_network:classifier", (1, 28, 28), slug, source, {}, 0, "mnist5k", sha256)


def ask(number: int, limit: float) -> Ask:
    return Ask(number, 0, 0, limit, norm="linf", radius=0.1, low=0.0, high=1.0)


def round_trips(zygote: Zygote, folder: Path) -> list[Figure]:
    """From sending a job to having its answer; the job judges its input in float64 and then does nothing."""
    worker = Worker(zygote, "mnist5k", 2**33)
    worker.open(opening(folder, "nothing"), 60.0)
    times, inside = [], []
    for number in range(2000):
        started = time.perf_counter()
        answer = worker.ask(ask(number, 60.0))
        times.append(time.perf_counter() - started)
        inside.append(answer.seconds)
    worker.close()
    trips = sorted(1e3 * trip for trip in times)
    overhead = statistics.median(1e3 * (trip - seconds) for trip, seconds in zip(times, inside, strict=True))
    return [
        ("round trip of a job that does nothing, median", statistics.median(trips), "ms", 1.0),
        ("round trip of a job that does nothing, 99th percentile", trips[int(0.99 * len(trips))], "ms", None),
        ("of which the runner's own, median", overhead, "ms", None),
    ]


def deaths(zygote: Zygote, folder: Path) -> list[Figure]:
    """A solver stuck in C++ with a child in a session of its own, killed at 1 s, ten times."""
    limit, dead, next_started = 1.0, [], []
    for number in range(10):
        worker = Worker(zygote, "mnist5k", 2**33)
        worker.open(opening(folder, "stuck"), 60.0)
        started = time.monotonic()
        stopped = worker.ask(ask(number, limit))
        assert isinstance(stopped, Stopped)
        assert stopped.termination == "timeout"
        assert below(zygote.pid) == []
        dead.append(time.monotonic() - started - limit)
        worker.close()
        worker = Worker(zygote, "mnist5k", 2**33)
        worker.open(opening(folder, "nothing"), 60.0)
        next_started.append(time.monotonic() - started - limit)
        worker.close()
    return [
        ("stuck solver dead after its limit, median", statistics.median(dead), "s", 0.3),
        ("stuck solver dead after its limit, worst of 10", max(dead), "s", 0.3),
        ("next job starts after the limit, worst of 10", max(next_started), "s", 0.5),
    ]


SUITE = """
name = "million"
title = "t"
dataset = "mnist5k"
models = ["bench_network:classifier"]
radii = [{radii}]
[[verify]]
methods = ["clean"]
"""

PLANNER = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sokbench import suites
from sokbench.runner.plan import plan
import sokbench.runner.execute
started = time.monotonic()
planned = plan(suites.load(Path(sys.argv[1]) / "million.toml"), Path(sys.argv[1]) / "results")
seconds, peak = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(seconds, peak, planned.done, planned.pending)
"""


def planning(folder: Path, rows: int) -> list[Figure]:
    """Planning a suite of `rows` jobs, all recorded but one in a hundred, in a process of its own."""
    radii = ", ".join(str(i / rows) for i in range(rows // 1000))
    (folder / "million.toml").write_text(SUITE.format(radii=radii))
    jobs = write_rows(suites.load(folder / "million.toml"), folder / "results")
    command = [sys.executable, "-c", PLANNER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, recorded, pending = (float(word) for word in done.stdout.split())
    assert (recorded + pending, pending) == (jobs, jobs // 100)
    return [
        (f"planning against {jobs:,} recorded rows", seconds, "s", 10.0),
        ("memory of the parent then", megabytes, "MB", 500.0),
    ]


def write_rows(suite: suites.Suite, results: Path) -> int:
    """Record what a run of the suite would, leaving out every hundredth job; returns the number of jobs."""
    path = results / suite.name / "20260101T000000Z-0000" / "rows.jsonl"
    path.parent.mkdir(parents=True)
    stamp, reply, jobs = Stamp("20260101T000000Z-0000", suite.name, False), Reply("ok", seconds=0.1, log="x" * 100), 0
    with path.open("wb") as file:
        for batch in expand(suite).batches:
            keys = Keys(batch.series)
            for index, label in zip(batch.indices, batch.labels, strict=True):
                if jobs % 100 != 99:
                    row = row_of(batch.series, index, label, keys.of(index), stamp, reply)
                    file.write(msgspec.json.encode(msgspec.structs.replace(row, schema=SCHEMA)) + b"\n")
                jobs += 1
    return jobs


if __name__ == "__main__":
    main()
