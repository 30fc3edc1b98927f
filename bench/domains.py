"""Domains per second of branch and bound against the floor of its arithmetic: python bench/domains.py

A domain is bounded by `Schedule.iterations` passes, each of which takes one row of the output back to the input and one
point forward, in float32; its parent was taken through once more to choose the split. Floor: the operations of these
rows and points in the reduced network (neurons that are never active left out) at the measured rate of a large matrix
product. Searches run on VNN-COMP instances that need many domains, with the root's bounds, for `--seconds` of CPU.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from bounds import product_rate, row_flops

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.vnnlib import read_property
from verifiers.complete.search.split_search import SplitSettings
from verifiers.complete.split_decision import Question, question, search_plain
from verifiers.graph.rewriting.reduction import reduce_property

INSTANCES = [
    ("mnistfc", "mnist-net_256x2", "prop_3_0.03"),
    ("mnistfc", "mnist-net_256x4", "prop_13_0.03"),
    ("mnistfc", "mnist-net_256x6", "prop_13_0.03"),
    ("oval21", "cifar_base_kw", "cifar_base_kw-img7086-eps0.034640522875816995"),
    ("cifar10_resnet", "resnet_2b", "resnet2b_pgd_filtered__prop_6_eps_0.008"),
]


def asked_of(folder: Path, category: str, network: str, spec: str) -> Question | None:
    """The open question of an instance's first problem; None where nothing is left to search."""
    loaded = sokbench.load_network(str(folder / "nets" / category / f"{network}.onnx"))
    (reduced, *_) = reduce_property(loaded, read_property(folder / "dev" / category / f"{spec}.vnnlib"))
    found = question(reduced.problem, Deadline.after(60.0), always=True)
    return found if isinstance(found, Question) else None


def measure(asked: Question, batch: int, seconds: float) -> tuple[int, float]:
    """(domains, CPU seconds) of a search that never stops to refresh bounds."""
    settings = SplitSettings(batch=batch, patience=10**9)
    began = time.process_time()
    outcome = search_plain(asked, settings, Deadline.after(seconds))
    return int(outcome.stats["domains"]), time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("SOKBENCH_DATA", ".")) / "vnncomp2021"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rate = product_rate(torch.float32)
    print(f"sgemm {rate / 1e9:.1f} GFLOP/s; load {os.getloadavg()[0]:.1f}")
    print(
        f"{'network':<18}{'batch':>6}{'domains':>9}{'per CPU s':>11}{'MFLOP each':>12}{'floor per s':>13}{'x floor':>9}"
    )
    passes = 2 * SplitSettings().schedule.iterations + 1
    with torch.no_grad():
        for category, network, spec in INSTANCES:
            asked = asked_of(arguments.data, category, network, spec)
            if asked is None:
                print(f"{network:<18} nothing to search")
                continue
            graph = asked.relaxed.reduced()[0].graph
            flops = passes * row_flops(graph, graph.output, is_target=False)
            for batch in arguments.batches:
                domains, cpu = measure(asked, batch, arguments.seconds)
                speed, floor = domains / cpu, rate / flops
                print(f"{network:<18}{batch:>6}{domains:>9}{speed:>11.0f}{flops / 1e6:>12.2f}{floor:>13.0f}"
                      f"{floor / max(speed, 1e-9):>9.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
