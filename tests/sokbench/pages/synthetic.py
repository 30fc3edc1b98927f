"""Made-up results of any size, with the faults that pages must stand: strange names, markup in logs, odd statuses."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sokbench import data, journal
from sokbench.rows import Array, Row, Run

EVIL = '<script>document.title="broken"</script><img src=x onerror=alert(1)>'

# how strong and how slow made-up methods are: (share of robust inputs verified, seconds)
VERIFIERS = {
    "ibp": (0.35, 0.002),
    "fastlin": (0.5, 0.01),
    "crown_ibp": (0.55, 0.012),
    "deeppoly": (0.62, 0.03),
    "crown": (0.66, 0.035),
    "op_norm": (0.1, 0.001),
    "lp_full": (0.75, 2.5),
    "sdp_verify": (0.8, 30.0),
    "milp": (0.95, 12.0),
}
MODELS = tuple(
    f"mnist5k/{arch}/{training}" for arch in ("fcnn_a", "fcnn_b", "cnn_a") for training in ("clean", "adv", "cadv")
)
ROBUSTNESS = {"clean": 0.35, "adv": 0.8, "cadv": 0.9}
RUN = "2026-07-01T10-00-00-abc123"


def pack(values: np.ndarray[Any, Any]) -> Array:
    """The `Array` of a row."""
    body = zlib.compress(np.ascontiguousarray(values).tobytes())
    return Array(str(values.dtype), values.shape, base64.b64encode(body).decode())


def make_row(index: int, label: int, model: str, method: str, radius: float, **fields: Any) -> Row:
    """A row of suite quick with sensible defaults."""
    defaults: dict[str, Any] = {
        "key": f"{fields.get('suite', 'quick')}-{model}-{method}-{radius}-{index}-{fields.get('task', 'verify')}",
        "run": RUN,
        "suite": "quick",
        "task": "verify",
        "dataset": "mnist5k",
        "data_sha256": mnist_sha256(),
        "model_sha256": "0" * 64,
        "method_version": "1" * 16,
        "norm": "linf",
        "low": 0.0,
        "high": 1.0,
        "limit": 60.0,
        "memory": 8 << 30,
        "finished": "2026-07-01T10:10:00+00:00",
    }
    return Row(index=index, label=label, model=model, method=method, radius=radius, **{**defaults, **fields})


@cache
def mnist_sha256() -> str:
    return data.load("mnist5k").test.sha256


def verify_rows(
    inputs: Sequence[int],
    models: Sequence[str] = MODELS,
    radii: Sequence[float] = (0.02, 0.1),
    methods: Sequence[str] = tuple(VERIFIERS),
    seed: int = 0,
) -> Iterator[Row]:
    """Rows of verifiers, an attack and the baseline that agree with each other about what is true."""
    split = data.load("mnist5k").test
    for model in models:
        for radius in radii:
            for index in inputs:
                draw = random.Random(f"{seed} {model} {index}")
                hardness = draw.random() * (0.5 + 4 * radius) / ROBUSTNESS.get(model.split("/")[-1], 0.5)
                label, wrong, robust = int(split.labels[index]), hardness > 1.0, hardness < 0.6
                image = split.image(index)
                sign = np.random.default_rng(index).choice([-1.0, 1.0], image.shape)
                moved = np.clip(image + radius * sign, 0, 1).astype(np.float32)
                witness = pack(image if wrong else moved)
                stats = {"clean_margin": -0.5} if wrong else {"steps": 40}
                for attack in ("clean", "pgd"):
                    broken = wrong or (attack == "pgd" and not robust)
                    yield make_row(
                        index, label, model, attack, radius, verdict="falsified" if broken else "unknown",
                        witness=witness if broken else None, seconds=0.01, stats=stats if broken else {},
                    )  # fmt: skip
                for method in methods:
                    yield _answer(draw, index, label, model, method, radius, wrong, robust, witness)


def _answer(
    draw: random.Random, index: int, label: int, model: str, method: str, radius: float, wrong: bool, robust: bool,
    witness: Array,
) -> Row:  # fmt: skip
    strength, seconds = VERIFIERS.get(method, (0.5, 0.1))
    fields: dict[str, Any] = {
        "seconds": seconds * draw.lognormvariate(0, 0.4),
        "log": f"{method} on input {index}\ndone",
    }
    if wrong:
        fields |= {"verdict": "falsified", "witness": witness, "stats": {"clean_margin": -0.5}}
    elif method == "sdp_verify" and "cnn" in model.split("/")[1] and not model.split("/")[1].startswith("f"):
        fields |= {
            "termination": "unsupported",
            "stats": {"reason": "convolutions are not supported by this relaxation"},
        }
    elif method == "milp" and not robust:
        fields |= {"verdict": "falsified", "witness": witness}
    elif robust and draw.random() < strength:
        fields |= {"verdict": "verified", "margin": draw.random()}
    elif method in ("milp", "sdp_verify"):
        ending = draw.choice(["timeout", "timeout", "memory", "crashed"])
        fields |= {"termination": ending, "seconds": 60.0 if ending == "timeout" else 20.0, "log": "Traceback: " + EVIL}
    else:
        fields |= {"margin": -draw.random()}
    return make_row(index, label, model, method, radius, **fields)


def certify_rows(inputs: Sequence[int], models: Sequence[str] = ("mnist5k/cnn_a/gaussian050",)) -> Iterator[Row]:
    """Certificates of randomized smoothing, with abstentions."""
    labels = data.load("mnist5k").test.labels
    for model in models:
        for index in inputs:
            draw = random.Random(f"{model} {index}")
            right, radius = draw.random() < 0.85, draw.random() * 1.4
            yield make_row(
                index, int(labels[index]), model, "neyman_pearson", None, task="certify", norm="l2",
                noise={"kind": "gaussian", "sigma": 0.5}, alpha=0.001, seconds=0.4, low=None, high=None,
                parameters={"n0": 100, "n": 1000, "precision": "bfloat16"},
                prediction=int(labels[index]) if right else -1, certified_radius=radius if right else 0.0, p=0.9, q=0.1,
            )  # type: ignore[arg-type]  # fmt: skip


def property_rows(methods: Sequence[str] = ("beta_crown", "milp", "crown", "pgd")) -> Iterator[Row]:
    """Answers to instances of two categories, of a suite of their own; one answer is wrong, one crashed."""
    for category, count in (("acasxu", 14), ("mnistfc", 20)):
        for index in range(count):
            holds = index % 3 != 0
            for place, method in enumerate(methods):
                draw = random.Random(f"{category} {index} {method}")
                able = method in ("beta_crown", "milp") or (method == "crown") == holds
                fields: dict[str, Any] = {"seconds": (0.3 + place) * draw.lognormvariate(0, 1.0)}
                if draw.random() < 0.2 or not able:
                    fields["termination"] = "timeout" if able else "ok"
                elif holds:
                    fields |= {"verdict": "verified", "margin": draw.random()}
                else:
                    stats = {"witness": "correct", "judged_by": "float64 and onnxruntime", "outputs": [0.5]}
                    fields |= {"verdict": "falsified", "stats": stats, "witness": pack(np.zeros(5, np.float32))}
                if (index, method) == (3, "milp"):
                    fields = {"termination": "crashed", "stats": {"reason": EVIL}, "log": EVIL, "seconds": 0.1}
                if (index, method) == (6, "crown"):
                    fields |= {"verdict": "verified", "witness": None, "stats": {}}
                yield make_row(
                    index, 0, f"nets/{category}/net_{index % 4}.onnx", method, 0.0, suite="vnn", task="property",
                    dataset=category, norm="", low=None, high=None, limit=60.0, spec=f"{category}/prop_{index}.vnnlib",
                    expected="holds tools_agree 1.5" if holds else "violated counterexample_rechecked",
                    prepare_seconds=0.2, **fields,
                )  # fmt: skip


def radius_rows(inputs: Sequence[int], model: str = MODELS[2]) -> Iterator[Row]:
    """Radii found by bisection."""
    labels = data.load("mnist5k").test.labels
    for method, scale in (("ibp", 0.1), ("crown", 0.15)):
        for index in inputs:
            radius = random.Random(index).random() * scale
            yield make_row(
                index, int(labels[index]), model, method, None, task="radius", certified_radius=radius, seconds=0.2
            )  # type: ignore[arg-type]


def make_run(suite: str = "quick", run: str = RUN) -> Run:
    return Run(
        run=run,
        suite=suite,
        suite_sha256="a" * 64,
        command=f"sokbench run {suite}",
        started="2026-07-01T10:00:00+00:00",
        commit="0123456789abcdef0123456789abcdef01234567",
        clean=False,
        python="3.11.7 (main) [GCC 12.2.0]",
        packages={"torch": "2.13.0", "numpy": "2.4.6"},
        hardware={"cpu": "Example CPU " + EVIL, "cores": 2, "memory": 24 << 30},
        seeds=[0],
        limits={"wall": 60.0},
        datasets={"mnist5k": mnist_sha256()},
        models=dict.fromkeys(MODELS, "0" * 64),
        indices={"mnist5k": list(range(10))},
    )


def write_results(results: Path, rows: Sequence[Row], runs: Sequence[Run] = ()) -> Path:
    """Write rows and runs as the runner does."""
    import msgspec

    for row in rows:
        (results / row.suite / row.run).mkdir(parents=True, exist_ok=True)
    handles = {}
    for row in rows:
        place = results / row.suite / row.run / journal.ROWS
        if place not in handles:
            handles[place] = place.open("ab")
        handles[place].write(msgspec.json.encode(row) + b"\n")
    for handle in handles.values():
        handle.close()
    for run in runs or [make_run(suite, name) for suite, name in sorted({(row.suite, row.run) for row in rows})]:
        journal.write_run(results / run.suite / run.run, run)
    return results
