"""Complete verification on VNN-COMP instances: python bench/complete.py --methods beta_crown,milp

Reads `expected.csv` and the instances of `--data` (a folder with `nets/` and `dev/`). Every instance is answered by
each method under the same limit, in this process, one thread; seconds are those of the answer, reading files apart
(`read`) and one start of the interpreter with torch beside them (`start`). Printed per instance: the answer, what was
expected and on what that rests. Per category: solved, of those that two tools solved in 2021 with the fastest under
ten seconds (`easy`), median and PAR2 seconds, contradictions.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

import sokbench
from sokbench.core.vnnlib import read_property
from sokbench.decision import answer_of, decide


def easy(row: dict[str, str]) -> bool:
    """Whether two tools solved the instance in 2021, the fastest of them in less than ten seconds."""
    tools = int(row["n_holds"] or 0) + int(row["n_violated"] or 0)
    return tools >= 2 and row["verdict"] in ("holds", "violated") and float(row["fastest_s"] or "inf") < 10.0


def answer(method: str, row: dict[str, str], folder: Path, limit: float) -> tuple[str, float, float, str]:
    """(answer, seconds, seconds of reading, what decided)."""
    began = time.monotonic()
    network = sokbench.load_network(str(folder / row["net_path"]))
    asked = read_property(folder / row["spec_path"])
    verifier = sokbench.method(method)
    read = time.monotonic() - began
    outcome = decide(verifier, network, asked, limit)
    note = f"{outcome.stats.get('decided_by', outcome.stats.get('reason', ''))} {outcome.stats.get('domains', '')}"
    return answer_of(outcome.verdict, outcome.termination), outcome.seconds, read, note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("SOKBENCH_DATA", ".")) / "vnncomp2021"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--methods", default="beta_crown")
    parser.add_argument("--categories", default="", help="comma-separated; all by default")
    parser.add_argument("--match", default="", help="only instances whose network or property contains this")
    parser.add_argument("--easy", action="store_true", help="only those that were easy in 2021")
    parser.add_argument("--limit", type=float, default=60.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with (arguments.data / "dev" / "expected.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if arguments.match in f"{row['net_path']} {row['spec_path']}"]
    wanted = set(filter(None, arguments.categories.split(",")))
    rows = [row for row in rows if not wanted or row["category"] in wanted]
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch, sokbench"], check=True)
    print(f"start {time.monotonic() - began:.2f} s, load {os.getloadavg()[0]:.1f}")
    for method in arguments.methods.split(","):
        results = defaultdict(list)
        for row in rows:
            if arguments.easy and not easy(row):
                continue
            found, seconds, read, note = answer(method, row, arguments.data, arguments.limit)
            wrong = {found, row["verdict"]} == {"holds", "violated"}
            results[row["category"]].append((found, seconds, easy(row), wrong))
            name = f"{Path(row['net_path']).stem} {Path(row['spec_path']).stem}"
            mark = "CONTRADICTION" if wrong else ""
            print(f"{method} {name}: {found} {seconds:.2f} s (read {read:.2f}) {note}; "
                  f"expected {row['verdict']} {row['basis']} {row['fastest_s']} {mark}", flush=True)  # fmt: skip
        for category, found in results.items():
            report(method, category, found, arguments.limit)


def report(method: str, category: str, found: list[tuple[str, float, bool, bool]], limit: float) -> None:
    solved = [answer in ("holds", "violated") for answer, _, _, _ in found]
    simple = [ok for ok, (_, _, is_easy, _) in zip(solved, found, strict=True) if is_easy]
    times = [seconds if ok else 2 * limit for ok, (_, seconds, _, _) in zip(solved, found, strict=True)]
    print(
        f"== {method} {category}: solved {sum(solved)}/{len(solved)}, easy {sum(simple)}/{len(simple)}, "
        f"median {statistics.median(times):.2f} s, PAR2 {statistics.mean(times):.2f} s, "
        f"latest {max(seconds for _, seconds, _, _ in found):.2f} s, contradictions {sum(one[3] for one in found)}"
    )


if __name__ == "__main__":
    main()
