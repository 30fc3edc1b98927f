"""The command line as a user meets it: in a process of its own, by its output and exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sokbench.cli import VERBS

SUITE = """
name = "tiny"
title = "Tiny"
dataset = "mnist5k"
subset = "first:2"
radii = [0.02]
models = ["mnist5k/fcnn_a/clean"]
[[verify]]
methods = ["ibp", "pgd"]
[[certify]]
certifiers = ["neyman_pearson"]
noise = { kind = "gaussian", sigma = 0.25 }
n = 200
"""


def sokbench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sokbench.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(verb: str):
    done = sokbench(verb, "--help")
    assert done.returncode == 0, done.stderr
    text = done.stdout if verb != "leaderboard" else sokbench(verb, "add", "--help").stdout
    assert f"sokbench {verb}" in text
    assert "Examples:" in text


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['sokbench', '--help']\nfrom sokbench.cli import main\ntry: main()\nexcept SystemExit: "
    )
    code += "print([m for m in ('torch', 'numpy', 'scipy', 'rich', 'pandas') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


ON_CLEAN = "verify mnist5k/fcnn_a/clean --data mnist5k"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run quik", "unknown suite 'quik'; did you mean quick"),
        ("run nowhere.toml", "no such suite file"),
        ("info crwon", "did you mean crown"),
        ("verify mnist5k/cnn_a/cdav --data mnist5k --index 0 --method crown --radius 0.1", "did you mean"),
        ("verify mnist5k/fcnn_a/clean --data mnist --index 0 --method crown --radius 0.1", "SHA-256"),
        (f"{ON_CLEAN} --index 0 --method crwon --radius 0.1", "did you mean crown"),
        (f"{ON_CLEAN} --index 0 --method crown --radius -1", "radius"),
        (f"{ON_CLEAN} --index 0 --method crown --radius nan", "radius"),
        (f"{ON_CLEAN} --index 0 --method crown --radius a/b", "neither a number nor a fraction"),
        (f"{ON_CLEAN} --index 1000 --method crown --radius 0.1", "names input 1000, but there are 1000"),
        (f"{ON_CLEAN} --index 0 --method pgd --radius 0.1 --set restarts", "write NAME=VALUE"),
        (f"{ON_CLEAN} --index 0 --method pgd --radius 0.1 --set restart=1", "did you mean restarts"),
        ("verify missing.onnx --data mnist5k --index 0 --method crown --radius 0.1", "no such file"),
        ("verify broken.onnx --data mnist5k --index 0 --method crown --radius 0.1", "not a complete ONNX file"),
        ("verify json:load_s --data mnist5k --index 0 --method crown --radius 0.1", "did you mean loads"),
        ("audit never", "unknown recorded suite"),
        ("tables sok-tabel3", "did you mean sok-table3"),
        ("check-method missing.py", "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, monkeypatch, command: str, message: str):
    monkeypatch.setenv("SOKBENCH_DATA", str(tmp_path))
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07\x12")
    done = sokbench(*command.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["verifier", "certifier", "attack", "model", "dataset", "suite"])
def test_lists_are_arrays_of_objects_for_programs(kind: str):
    items = json.loads(sokbench("list", "--kind", kind, "--json").stdout)
    assert items
    assert all(item["kind"] == kind for item in items)


def test_nine_verifiers_of_every_family():
    items = json.loads(sokbench("list", "--kind", "verifier", "--json").stdout)
    assert len(items) >= 9
    assert {"linear relaxation", "linear programming", "mixed-integer programming", "Lipschitz"} <= {
        item["family"] for item in items
    }


def test_doctor_finds_what_is_installed():
    findings = {found["name"]: found for found in json.loads(sokbench("doctor", "--json").stdout)}
    assert findings["highspy"]["usable"]
    assert findings["mnist5k"]["usable"]
    assert all(found["usable"] or found["advice"] for found in findings.values())


def test_info_tells_what_a_method_does():
    done = sokbench("info", "crown")
    assert done.returncode == 0
    assert "linear relaxation" in done.stdout


def test_a_suite_from_run_to_site(tmp_path: Path):
    (tmp_path / "tiny.toml").write_text(SUITE)
    plan = sokbench("run", "tiny.toml", "--dry-run", cwd=tmp_path)
    assert "8 jobs to run" in plan.stdout
    assert not (tmp_path / "results").exists()
    assert sokbench("run", "tiny.toml", cwd=tmp_path).returncode == 0
    assert "nothing to run" in sokbench("run", "tiny.toml", cwd=tmp_path).stdout
    status = json.loads(sokbench("status", "tiny.toml", "--json", cwd=tmp_path).stdout)
    assert (status["done"], status["missing"], status["terminations"]) == (8, 0, {"ok": 8})
    assert "audit of tiny: clean" in sokbench("audit", cwd=tmp_path).stdout
    for ending in ("csv", "parquet"):
        assert "8 rows" in sokbench("export", "tiny", f"rows.{ending}", cwd=tmp_path).stdout
        assert (tmp_path / f"rows.{ending}").stat().st_size > 0
    assert sokbench("tables", cwd=tmp_path).returncode == 0
    assert "IBP" in sokbench("tables", "sok-table3", "--show", cwd=tmp_path).stdout
    built = sokbench("site", "--out", "public", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "public" / "index.html").is_file()


def test_one_input_from_the_command_line():
    where = ("mnist5k/fcnn_a/clean", "--data", "mnist5k", "--index", "0")
    row = json.loads(sokbench("verify", *where, "--method", "ibp", "--radius", "1/1000", "--json").stdout)
    assert (row["method"], row["verdict"], row["radius"]) == ("ibp", "verified", 0.001)
    searched = json.loads(sokbench("verify", *where, "--method", "ibp", "--json").stdout)
    assert searched["certified_radius"] >= 0.001
    smoothed = json.loads(sokbench("certify", *where, "--sigma", "0.25", "--n", "100", "--json").stdout)
    assert (smoothed["task"], smoothed["method"]) == ("certify", "neyman_pearson")
