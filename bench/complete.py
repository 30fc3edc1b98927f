"""Complete verification on VNN-COMP instances: python bench/complete.py --methods beta_crown,milp

Reads `expected.csv` and the instances of `--data` (a folder with `nets/` and `dev/`). Every instance is answered by
each method under the same limit, in this process, one thread; seconds are those of the answer, reading files apart
(`read`) and one start of the interpreter with torch beside them (`start`). Printed per instance: the answer, what was
expected and on what that rests. Per category: solved, of those that two tools solved in 2021 with the fastest under
ten seconds (`easy`), median and PAR2 seconds, contradictions.

`--table` keeps the answers as CSV, `--plot` draws from such a table how many are solved within each time, by method:
python bench/complete.py --methods beta_crown,milp --table answers.csv --plot solved.svg
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch

import sokbench
from sokbench.core.network import Network
from sokbench.core.property import Property
from sokbench.core.vnnlib import read_property
from sokbench.decision import answer_of, decide
from verifiers.complete.proofs.arithmetic import Refused
from verifiers.complete.proofs.claims import check_problems, read_proofs
from verifiers.graph.rewriting.reduction import reduce_property


def easy(row: dict[str, str]) -> bool:
    """Whether two tools solved the instance in 2021, the fastest of them in less than ten seconds."""
    tools = int(row["n_holds"] or 0) + int(row["n_violated"] or 0)
    return tools >= 2 and row["verdict"] in ("holds", "violated") and float(row["fastest_s"] or "inf") < 10.0


def answer(method: str, row: dict[str, str], folder: Path, limit: float, proofs: bool) -> tuple[str, float, float, str]:
    """(answer, seconds, seconds of reading, what decided); proofs: whether those of what holds are checked."""
    began = time.monotonic()
    network = sokbench.load_network(str(folder / row["net_path"]))
    asked = read_property(folder / row["spec_path"])
    with tempfile.TemporaryDirectory() as place:
        verifier = sokbench.method(method, **({"proofs": place} if proofs else {}))
        read = time.monotonic() - began
        cpu = time.process_time()
        outcome = decide(verifier, network, asked, limit)
        cpu = time.process_time() - cpu
        found = answer_of(outcome.verdict, outcome.termination)
        note = f"{outcome.stats.get('decided_by', outcome.stats.get('reason', ''))} {outcome.stats.get('domains', '')}"
        if proofs and found == "holds":
            note += f"; CPU {cpu:.2f} s; {checked(network, asked, Path(place))}"
    return found, outcome.seconds, read, note


def checked(network: Network, asked: Property, place: Path) -> str:
    """What the checker says of the proofs in `place`, its CPU seconds (reading them included), and their size."""
    began = time.process_time()
    files = list(place.iterdir())
    proofs = [arrays for file in files for arrays in read_proofs(file)]
    try:
        found = check_problems(proofs, [reduced.problem for reduced in reduce_property(network, asked)])
        said = f"proof of {sum(one.leaves for one in found)} leaves accepted"
    except Refused as reason:
        said = f"proof REFUSED ({reason})"
    size = sum(file.stat().st_size for file in files) / 2**10
    return f"{said} in {time.process_time() - began:.2f} s, {size:.0f} KiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("SOKBENCH_DATA", ".")) / "vnncomp2021"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--methods", default="beta_crown")
    parser.add_argument("--categories", default="", help="comma-separated; all by default")
    parser.add_argument("--match", default="", help="only instances whose network or property contains this")
    parser.add_argument("--easy", action="store_true", help="only those that were easy in 2021")
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--table", type=Path, help="append the answers to this CSV file")
    parser.add_argument("--plot", type=Path, help="draw the whole table; .svg or .png; --methods '' to draw only")
    parser.add_argument(
        "--proofs", action="store_true", help="write and check the proofs of what holds (beta_crown, reluval)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with (arguments.data / "dev" / "expected.csv").open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if arguments.match in f"{row['net_path']} {row['spec_path']}"]
    wanted = set(filter(None, arguments.categories.split(",")))
    rows = [row for row in rows if not wanted or row["category"] in wanted]
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch, sokbench"], check=True)
    print(f"start {time.monotonic() - began:.2f} s, load {os.getloadavg()[0]:.1f}")
    for method in filter(None, arguments.methods.split(",")):
        results = defaultdict(list)
        for row in rows:
            if arguments.easy and not easy(row):
                continue
            found, seconds, read, note = answer(method, row, arguments.data, arguments.limit, arguments.proofs)
            wrong = {found, row["verdict"]} == {"holds", "violated"}
            results[row["category"]].append((found, seconds, easy(row), wrong))
            name = f"{Path(row['net_path']).stem} {Path(row['spec_path']).stem}"
            mark = "CONTRADICTION" if wrong else ""
            if arguments.table:
                keep(arguments.table, [method, row["category"], name, found, f"{seconds:.3f}", f"{arguments.limit:g}"])
            print(f"{method} {name}: {found} {seconds:.2f} s (read {read:.2f}) {note}; "
                  f"expected {row['verdict']} {row['basis']} {row['fastest_s']} {mark}", flush=True)  # fmt: skip
        for category, found in results.items():
            report(method, category, found, arguments.limit)
    if arguments.table and arguments.plot:
        plot(arguments.table, arguments.plot)


def keep(table: Path, values: list[str]) -> None:
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["method", "category", "instance", "answer", "seconds", "limit"])
        writer.writerow(values)


def plot(table: Path, image: Path) -> None:
    """Solved instances against time, a line per method and a panel per category; the last answer of each counts."""
    import matplotlib as mpl

    mpl.use("svg" if image.suffix == ".svg" else "agg")
    from matplotlib import pyplot as plt

    with table.open(newline="", encoding="utf-8") as file:
        rows = {(row["category"], row["method"], row["instance"]): row for row in csv.DictReader(file)}
    asked: dict[str, set[str]] = defaultdict(set)
    for category, _, instance in rows:
        asked[category].add(instance)
    figure, axes = plt.subplots(2, -(-len(asked) // 2), figsize=(12, 5), layout="constrained", squeeze=False)
    methods = sorted({method for _, method, _ in rows})
    for axis, category in zip(axes.flat, sorted(asked), strict=False):
        for number, method in enumerate(methods):
            mine = [row for (where, by, _), row in rows.items() if (where, by) == (category, method)]
            times = sorted(float(row["seconds"]) for row in mine if row["answer"] in ("holds", "violated"))
            if mine:
                end = max(float(row["limit"]) for row in mine)
                axis.step([0.001, *times, end], [*range(len(times) + 1), len(times)], where="post",
                          color=f"C{number}", label=method)  # fmt: skip
        axis.axhline(len(asked[category]), color="grey", linestyle=":")
        axis.set(xscale="log", title=f"{category} ({len(asked[category])})", ylim=(0, None), xlabel="seconds")
        axis.grid(visible=True, alpha=0.3)
    for axis in axes.flat[len(asked) :]:
        axis.set_visible(False)
    axes[0][0].set_ylabel("solved")
    axes[0][0].legend()
    figure.savefig(image)


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
