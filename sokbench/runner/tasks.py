"""What a worker does for each kind of job. One function per task opens it and returns the function that answers."""

from __future__ import annotations

import hashlib
import inspect
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from ..core.errors import Unsupported
from ..core.evaluation import logits64
from ..core.method import Attack, Method
from ..core.problem import Ball, Problem, parse_norm
from ..core.radius import search_radius
from ..core.registry import catalog, component, instance, load_file
from ..networks import load_network
from .protocol import Answer, Ask, Open, Values

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.certifier import Certifier
    from ..core.network import Network
    from ..core.outcome import Outcome
    from ..data.split import Split

Task = Callable[[Ask], Answer]
Report = Callable[[int, float], None]


def open_task(opening: Open, split: Split, report: Report) -> Task:
    """Load what the jobs need. Raises whatever loading raises. report: called with each radius that is proved."""
    if opening.task == "certify":
        return _certify(cast("Certifier", _build(opening)))
    network = load_network(opening.network, opening.input_shape)
    _warm_up(network, split)
    if opening.task == "sample":
        return _sample(network, split, opening.seed)
    method = cast(Method, _build(opening))
    method.prepare(network)
    if opening.task == "radius":
        return _radius(method, network, split, opening.seed, report)
    return _verify(method, network, split, opening.seed)


def _warm_up(network: Network, split: Split) -> None:
    """Evaluate the network once, also in float64, so that the first job is not charged for what only it would do."""
    x = _input(split, 0)[None]
    if tuple(x.shape[1:]) == tuple(network.input_shape):  # otherwise each job says what is wrong
        network(x)
        logits64(network, x)


def _build(opening: Open) -> Method | Certifier:
    source = opening.method_source
    entry = load_file(Path(source)) if source else catalog()[opening.method]
    parameters = dict(opening.parameters)
    if "seed" in inspect.signature(entry.load()).parameters:
        parameters.setdefault("seed", opening.seed)
    return instance(entry, parameters)


def _verify(method: Method, network: Network, split: Split, seed: int) -> Task:
    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        _seed(seed, ask.index, "verify")
        ball = Ball(parse_norm(ask.norm), cast(float, ask.radius), ask.low, ask.high)
        outcome = method.verify(Problem(network, _input(split, ask.index), ask.label, ball), ask.limit)
        return _from_outcome(ask, outcome, time.monotonic() - started)

    return answer


def _radius(method: Method, network: Network, split: Split, seed: int, report: Report) -> Task:
    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        if isinstance(method, Attack):
            raise Unsupported("an attack certifies no radius")
        _seed(seed, ask.index, "radius")
        x = _input(split, ask.index)
        found = search_radius(
            method,
            network,
            x,
            ask.label,
            ask.norm,
            ask.limit,
            ask.low,
            ask.high,
            report=lambda radius: report(ask.number, radius),
        )
        return Answer(
            ask.number,
            time.monotonic() - started,
            termination=str(found.termination),
            certified_radius=found.radius,
            stats=_plain({"refuted": found.refuted, "steps": found.steps}),
        )

    return answer


def _sample(network: Network, split: Split, seed: int) -> Task:
    sampling, noises = component("randomized_smoothing.sampling"), component("randomized_smoothing.noise")

    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        noise, x = noises.from_spec(ask.noise), _input(split, ask.index)
        counts = []
        for stage, n in zip(("selection", "estimation"), ask.samples, strict=True):
            stream = sampling.Stream(seed, ask.index, stage)
            counts.append(tuple(sampling.class_counts(network, x, noise, n, stream).tolist()))
        return Answer(ask.number, time.monotonic() - started, counts=(counts[0], counts[1]))

    return answer


def _certify(certifier: Certifier) -> Task:
    noises = component("randomized_smoothing.noise")

    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        selection, estimation = (np.array(counts, dtype=np.int64) for counts in ask.counts)
        found = certifier.certify(selection, estimation, noises.from_spec(ask.noise), cast(float, ask.alpha))
        return Answer(
            ask.number,
            time.monotonic() - started,
            certified_radius=found.radius,
            prediction=found.prediction,
            p=found.p,
            q=found.q,
        )

    return answer


def _from_outcome(ask: Ask, outcome: Outcome, seconds: float) -> Answer:
    stats = _plain(dict(outcome.stats))
    reason = stats.pop("reason", "")
    return Answer(
        ask.number,
        seconds,
        termination=str(outcome.termination),
        reason=str(reason),
        verdict=str(outcome.verdict),
        margin=None if outcome.margin is None else float(outcome.margin),
        witness=None if outcome.witness is None else _values(outcome.witness),
        stats=stats,
    )


def _input(split: Split, index: int) -> Tensor:
    import torch

    return torch.from_numpy(split.image(index))


def _values(tensor: Tensor) -> Values:
    array = tensor.detach().cpu().contiguous().numpy()
    return Values(array.dtype.name, array.shape, array.tobytes())


def _plain(stats: dict[str, Any]) -> dict[str, Any]:
    """JSON values only: numpy and torch numbers become numbers, infinities and NaN become null."""
    encoded = msgspec.json.encode(stats, enc_hook=_number_or_text)
    return cast("dict[str, Any]", msgspec.json.decode(encoded))


def _number_or_text(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _seed(seed: int, index: int, stage: str) -> None:
    """Seed the global generators, so that even a method that forgot to is the same in any order of jobs."""
    import torch

    digest = hashlib.blake2b(f"{seed}/{index}/{stage}".encode(), digest_size=4).digest()
    value = int.from_bytes(digest, "big")
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)
