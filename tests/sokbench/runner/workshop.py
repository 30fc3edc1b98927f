"""A place to run small suites in: method files with a given fault, a tiny network, and the results they leave."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sokbench import journal, suites
from sokbench.rows import Row
from sokbench.runner.execute import Summary, run
from sokbench.runner.plan import Plan, plan
from sokbench.runner.processes import below
from sokbench.runner.recording import Stamp
from sokbench.runner.session import Session
from sokbench.runner.workers import Zygote

METHOD = """
from __future__ import annotations

import os, signal, subprocess, sys, time
from typing import ClassVar

from sokbench.core.errors import Unsupported
from sokbench.core.method import CompleteVerifier, MethodInfo
from sokbench.core.outcome import Outcome, Verdict


class Under_Test(CompleteVerifier):
    info: ClassVar[MethodInfo] = MethodInfo(
        slug="{slug}", title="t", kind="verifier", family="baseline", norms=("linf",), summary="s", paper="p"
    )

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def prepare(self, network):
{prepare}

    def decide(self, problem, deadline):
        index = int(problem.x.sum() * 1e3)
{body}
        return Outcome(Verdict.UNKNOWN, margin=-1.0)
"""

NETWORK = '''
def pixels():
    """Ten classes; the class of an mnist5k digit is right for most, wrong for some."""
    import torch

    generator = torch.Generator().manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(10, 784, generator=generator) * 0.01)
        network[1].bias.copy_(torch.eye(10)[0])
    return network


def narrow():
    import torch

    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(5, 10))
'''
# bias: every digit is classified as 0, so inputs with label 0 reach the method


@dataclass
class Watch:
    """A `Progress` that remembers."""

    rows: list[Row] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    left: list[float] = field(default_factory=list)

    def started(self, run: str, jobs: int) -> None:
        self.jobs = jobs

    def recorded(self, row: Row, done: int, jobs: int, seconds_left: float) -> None:
        assert done == len(self.rows) + 1 <= jobs
        self.rows.append(row)
        self.left.append(seconds_left)

    def message(self, text: str) -> None:
        self.messages.append(text)


class Workshop:
    """Writes methods and suites below `root`, and runs them."""

    def __init__(self, root: Path, zygote: Zygote | None = None) -> None:
        self.root, self.results, self.zygote = root, root / "results", zygote

    def method(self, slug: str, body: str, prepare: str = "pass") -> str:
        """Write a method whose `decide` runs `body`; returns its name in a suite."""
        text = METHOD.format(
            slug=slug,
            body=textwrap.indent(textwrap.dedent(body).strip(), " " * 8),
            prepare=textwrap.indent(textwrap.dedent(prepare).strip(), " " * 8),
        )
        (self.root / f"{slug}.py").write_text(text)
        return f"{slug}.py"

    def suite(self, blocks: str, subset: str = "indices:0,19,28", name: str = "tiny", head: str = "") -> suites.Suite:
        """By default three inputs with label 0, so that all of them reach the method."""
        path = self.root / f"{name}.toml"
        lines = [
            f'name = "{name}"',
            'title = "t"',
            'dataset = "mnist5k"',
            f'subset = "{subset}"',
            'models = ["workshop_nets:pixels"]',
            "radii = [0.01]",
            head,
            "[limits]",
            "wall = 20.0",
        ]
        path.write_text("\n".join(lines) + "\n" + textwrap.dedent(blocks))
        return suites.load(path)

    def plan(self, suite: suites.Suite, only: tuple[str, ...] = (), retry: tuple[str, ...] = ()) -> Plan:
        return plan(suite, self.results, only, retry)

    def run(self, suite: suites.Suite, jobs: int = 1, watch: Watch | None = None) -> Summary:
        return run(self.plan(suite), jobs=jobs, progress=watch or Watch(), command=["sokbench", "run", suite.name])

    def answers(self, suite: suites.Suite) -> list[Row]:
        """Run a suite on the zygote that all tests share (starting one takes seconds); nothing is recorded."""
        rows: list[Row] = []
        assert self.zygote is not None
        session = Session(self.zygote, Stamp("run", suite.name, False), {}, rows.append)
        for group in self.plan(suite).groups:
            session.run(group.batches)
        assert below(self.zygote.pid) == []
        return rows

    def rows(self, suite: suites.Suite) -> list[Row]:
        return journal.read_rows(self.results, suite.name)


def processes_with(mark: str) -> list[psutil.Process]:
    """Live processes whose command line contains `mark`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(mark in word for word in words):
            found.append(process)
    return found


def servers_marked(mark: str) -> list[psutil.Process]:
    """Live worker servers (zygotes) whose environment has `mark`: tests elsewhere on the machine start servers too."""
    found = []
    for process in processes_with("sokbench.runner.zygote"):
        with suppress(psutil.Error):
            if process.environ().get("SOKBENCH_TEST_MARK") == mark:
                found.append(process)
    return found
