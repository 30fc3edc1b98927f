"""How fast the solver methods are, and how far a plain big-M program gets. Repeat with: python bench/solvers.py

Each method answers the same inputs of shipped models under the same limit; inputs that the model misclassifies are
left out. `big_m` is the comparison: Tjeng et al.'s encoding with bounds from interval arithmetic, no tightening, no
attack, decided by the same mixed-integer solver that `milp` uses. Its "verified" is the solver's word (up to its
tolerances), so the comparison is generous to it.

Printed per model and method: verified, falsified, left open; median and PAR2 seconds (a problem left open counts
twice the limit); the latest answer after the limit. Then the ratio of PAR2 of big_m over milp, on all problems and on
those that one of the two decides: a problem that neither decides costs both the same, whatever their speed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sokbench
from sokbench.core.deadline import Deadline
from sokbench.core.evaluation import judge_witness
from sokbench.core.problem import Problem
from sokbench.data import load
from sokbench.data.subset import select
from verifiers.bounds import preactivation_bounds
from verifiers.complete.search.big_m import search_big_m
from verifiers.complete.witness import WitnessFinder
from verifiers.graph import graph_of
from verifiers.lp.chain import chain_of
from verifiers.lp.input_set import input_set
from verifiers.lp.tighten import relax

MODELS = [
    f"mnist5k/{name}/{training}" for name in ("fcnn_a", "fcnn_b", "cnn_a") for training in ("clean", "adv", "cadv")
]
METHODS = ["lp_full", "sdp_verify", "milp", "big_m"]


def plain_big_m(problem: Problem, limit: float, solver: str) -> tuple[str, float]:
    """(answer, seconds) of the big-M program with interval bounds, one class after the other."""
    began = time.monotonic()
    deadline = Deadline.after(limit)
    network = problem.network
    graph, layers = graph_of(network), chain_of(network)
    bounds = preactivation_bounds(graph, problem.x[None], problem.ball, "ibp")
    intervals = [(low.flatten().numpy(), up.flatten().numpy()) for low, up in bounds]
    relaxed = relax(layers, input_set(problem.x, problem.ball), intervals)
    finder, answer = WitnessFinder(problem, layers), "verified"
    for other in range(network.num_classes):
        if other == problem.label:
            continue
        if deadline.expired():
            answer = "unknown"
            break
        objective = relaxed.program.margin(layers[-1], problem.label, other)
        claim = search_big_m(relaxed.program, objective, solver, deadline)
        if claim.point is not None and finder.at(claim.point[: problem.x.numel()]) is not None:
            answer = "falsified"
            break
        if not claim.infeasible:
            answer = "unknown"
    return answer, time.monotonic() - began


def problems_of(model: str, subset: str, radius: float) -> list[Problem]:
    """The correctly classified inputs of `subset` of the model's data set."""
    network, split = sokbench.load_network(model), load(model.split("/")[0]).test
    ball = sokbench.Ball("linf", radius, 0.0, 1.0)
    found = [
        Problem(network, torch.tensor(np.asarray(split.images[index])), int(split.labels[index]), ball)
        for index in select(subset, len(split.labels))
    ]
    return [problem for problem in found if not judge_witness(problem, problem.x)[0]]


def measure(method: str, problems: list[Problem], limit: float, solver: str) -> dict[str, Any]:
    answers, seconds, margins = [], [], []
    if method != "big_m":
        built = sokbench.method(method, **({"solver": solver} if method == "milp" else {}))
        built.prepare(problems[0].network)
        built.verify(problems[0], 1.0)  # what is imported and built once, as big_m's by the methods before it
    for problem in problems:
        if method == "big_m":
            answer, took = plain_big_m(problem, limit, solver)
        else:
            outcome = built.verify(problem, limit)
            answer, took = str(outcome.verdict), outcome.seconds
            margins.append(outcome.margin)
        answers.append(answer)
        seconds.append(took)
    costs = [took if answer != "unknown" else 2 * limit for answer, took in zip(answers, seconds, strict=True)]
    return {
        "verified": answers.count("verified"),
        "falsified": answers.count("falsified"),
        "unknown": answers.count("unknown"),
        "median_seconds": round(statistics.median(seconds), 3),
        "par2": round(statistics.mean(costs), 3),
        "costs": costs,
        "over_limit": round(max(0.0, *(took - limit for took in seconds)), 3),
        "margins": margins,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--subset", default="stride:10", help="rule of sokbench.data.subset (default %(default)s)")
    parser.add_argument("--radius", type=float, default=0.1)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds per problem (default %(default)s)")
    parser.add_argument("--solver", default="auto", choices=["auto", "highs", "gurobi"])
    parser.add_argument("--json", type=Path, help="also write the results here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict[str, Any]] = {}
    names = f"{'verified':>9}{'falsified':>10}{'open':>6}{'median s':>10}{'PAR2 s':>9}{'late s':>8}"
    print(f"{'model':<24}{'method':<12}{names}")
    for model in options.models:
        problems = problems_of(model, options.subset, options.radius)
        results[model] = {}
        for method in options.methods:
            row = measure(method, problems, options.limit, options.solver)
            results[model][method] = row
            counts = f"{row['verified']:>9}{row['falsified']:>10}{row['unknown']:>6}"
            times = f"{row['median_seconds']:>10.2f}{row['par2']:>9.2f}{row['over_limit']:>8.2f}"
            print(f"{model:<24}{method:<12}{counts}{times}", flush=True)
        if {"milp", "big_m"} <= set(options.methods):
            ours, plain = results[model]["milp"]["costs"], results[model]["big_m"]["costs"]
            decided = [pair for pair in zip(ours, plain, strict=True) if min(pair) < 2 * options.limit]
            ratio, fair = sum(plain) / sum(ours), sum(pair[1] for pair in decided) / sum(pair[0] for pair in decided)
            line = f"big_m / milp in PAR2: {ratio:.1f}; on the {len(decided)} decided: {fair:.1f}"
            print(f"{model:<24}{line}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
