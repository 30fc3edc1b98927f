from __future__ import annotations

import datetime
import getpass
import platform
import subprocess
from pathlib import Path

import pytest

from sokbench import provenance


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["/usr/bin/sokbench", "run", "quick"], "sokbench run quick"),
        (["/opt/x/sokbench/__main__.py", "run", "quick"], "sokbench run quick"),
        (["sokbench", "run", "/home/someone/mine.toml", "--results=/scratch/r"], "sokbench run mine.toml --results=r"),
        (
            ["sokbench", "run", "mine/suite.toml", "--only", "mnist5k/*"],
            "sokbench run mine/suite.toml --only mnist5k/*",
        ),
        ([], ""),
    ],
)
def test_the_command_names_no_folder_of_the_machine(command: list[str], line: str):
    assert provenance.command_line(command) == line


def test_hardware_and_versions_without_host_or_user():
    found = provenance.hardware()
    assert found["cpu"]
    assert found["threads"] >= found["cores"] >= 1
    assert found["memory_gib"] > 0
    versions = provenance.packages()
    assert {"sokbench", "torch", "numpy", "msgspec"} <= set(versions)
    text = f"{found} {versions}"
    assert platform.node() not in found.values()
    assert f"/{getpass.getuser()}" not in text


def test_names_of_runs_sort_by_their_date():
    names = [provenance.new_run_name(datetime.datetime(2026, month, 1, tzinfo=datetime.UTC)) for month in (1, 2, 11)]
    assert names == sorted(names)
    assert len({provenance.new_run_name() for _ in range(20)}) > 15


def test_commit_and_clean(tmp_path: Path):
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    assert provenance.commit_and_clean(tmp_path) == ("unknown", False)
    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-m", "c")
    commit, clean = provenance.commit_and_clean(tmp_path)
    assert (len(commit), clean) == (40, True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "rows.jsonl").write_text("")
    assert provenance.commit_and_clean(tmp_path) == (commit, True), "results are no code"
    (tmp_path / "code.py").write_text("2")
    assert provenance.commit_and_clean(tmp_path) == (commit, False)
