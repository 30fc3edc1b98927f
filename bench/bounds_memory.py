"""What a bound takes in memory: peak resident size and time of the largest networks, in a process with a limit.

Repeat with: python bench/bounds_memory.py [--gib 8] [--seconds 600]

FCNN_C (7 x 1024) and CNN_D (230,000 neurons) on CIFAR-10 shapes with PyTorch's initial weights, one input, radius
1/255, one thread. The limit is on the address space of the process, so what exceeds it fails to be allocated. A method
that is not done after --seconds is stopped by its deadline and reports the margins that it has until then.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time


def child(name: str, method: str, seconds: float) -> None:
    import torch

    from models.architectures import build
    from sokbench import load_network
    from sokbench.core.deadline import Deadline, OutOfTime
    from sokbench.core.problem import Ball
    from verifiers.bounds import margin_bounds, prepare
    from verifiers.graph import graph_of

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = load_network(build(name, (3, 32, 32), 10), input_shape=(3, 32, 32))
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = network.module(x).argmax(dim=1)
    prepare(network)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu, ended = time.monotonic(), time.process_time(), "done"
    found: torch.Tensor | None = None
    try:
        found = margin_bounds(graph_of(network), x, labels, Ball("linf", 1 / 255), method, Deadline.after(seconds))
    except OutOfTime as error:
        ended, found = "out of time", error.margins
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.monotonic() - began, time.process_time() - cpu
    least = float("nan") if found is None else float(found.min())
    print(
        f"{name:7} {method:10} {ended:12} {wall:8.1f} s wall {cpu:8.1f} s CPU, peak {peak / 2**20:.2f} GiB "
        f"({before / 2**20:.2f} before), least margin {least:.4g}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=8.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--child", nargs=2, metavar=("NETWORK", "METHOD"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, method = arguments.child
        child(name, method, arguments.seconds)
        return
    limit = int(arguments.gib * 2**30)
    for name in ("fcnn_c", "cnn_d"):
        for method in ("crown_ibp", "crown"):
            command = [sys.executable, __file__, "--seconds", str(arguments.seconds), "--child", name, method]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, env=environment, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            )
            if done.returncode:
                print(f"{name:7} {method:10} ended with status {done.returncode}", flush=True)


if __name__ == "__main__":
    main()
