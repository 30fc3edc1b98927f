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
from ..core.registry import catalog, certifier, component, instance, load_file
from ..core.vnnlib import read_property
from ..decision import decide
from ..networks import load_network
from .protocol import Answer, Ask, Counted, Open, Proved, Values

if TYPE_CHECKING:
    from torch import Tensor

    from ..core.certifier import Certifier
    from ..core.network import Network
    from ..core.outcome import Outcome
    from ..data.split import Split

Task = Callable[[Ask], Answer]
Report = Callable[[Proved | Counted], None]


def open_task(opening: Open, split: Split | None, report: Report) -> Task:
    """Load what the jobs need. Raises whatever loading raises. report: called with what is known on the way."""
    if split is None:
        return _property(cast(Method, _build(opening)), opening.network, opening.seed)
    if opening.task == "certify":
        return _certify(cast("Certifier", _build(opening)), opening.stopped)
    network = load_network(opening.network, opening.input_shape)
    _warm_up(network, split)
    if opening.task == "sample":
        return _sample(network, split, opening, report)
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


def _property(method: Method, source: str, seed: int) -> Task:
    network = load_network(source)

    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        _seed(seed, ask.index, "property")
        asked = read_property(Path(ask.spec))
        left = max(0.0, ask.limit - (time.monotonic() - started))
        outcome = decide(method, network, asked, left, Path(source))
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
            report=lambda radius: report(Proved(ask.number, radius)),
        )
        return Answer(
            ask.number,
            time.monotonic() - started,
            termination=str(found.termination),
            certified_radius=found.radius,
            stats=_plain({"refuted": found.refuted, "steps": found.steps}),
        )

    return answer


def _sample(network: Network, split: Split, opening: Open, report: Report) -> Task:
    passes, noises = component("randomized_smoothing.sampling_pass"), component("randomized_smoothing.noise")
    wanted = opening.parameters

    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        noise = noises.from_spec(ask.noise)
        precision = wanted.get("precision", "float32")
        image = passes.Image(network, _input(split, ask.index), noise, opening.seed, ask.index, precision)
        earlier = np.array(ask.counts, dtype=np.int64) if ask.counts[0] else None
        sampling = passes.SamplingPass(
            image,
            wanted["n0"],
            wanted["n"],
            _stopping(wanted, noise) if "stop" in wanted else None,
            wanted.get("statistics", False),
            earlier,
            ask.moments,
        )

        def so_far(number: int) -> Counted:
            selection, estimation = sampling.counts.tolist()
            moments = () if sampling.moments is None else tuple(sampling.moments.values.tolist())
            return Counted(number, time.monotonic() - started, (tuple(selection), tuple(estimation)), moments)

        sampling.run(lambda _: report(so_far(ask.number)))
        stats = {} if sampling.moments is None else {"statistics": sampling.moments.summary()}
        return Answer(ask.number, time.monotonic() - started, counts=so_far(ask.number).counts, stats=stats)

    return answer


def _stopping(wanted: dict[str, Any], noise: Any) -> Any:
    """The rule that ends a pass, from what the suite asks of which certifiers."""
    targets = [(certifier(one["method"], **one["parameters"]), one["radii"]) for one in wanted["stop"]]
    return component("randomized_smoothing.stopping").stopping(targets, noise, wanted["n"], wanted["alpha"])


def _certify(certifier: Certifier, stopped: bool) -> Task:
    noises, stopping = component("randomized_smoothing.noise"), component("randomized_smoothing.stopping")
    uses_statistics = "statistics" in inspect.signature(certifier.certify).parameters

    def answer(ask: Ask) -> Answer:
        started = time.monotonic()
        selection, estimation = (np.array(counts, dtype=np.int64) for counts in ask.counts)
        alpha = cast(float, ask.alpha)
        if stopped:
            alpha = stopping.level_of(int(estimation.sum()), ask.parameters["n"], alpha)
        extra = {"statistics": ask.statistics} if uses_statistics else {}
        found = certifier.certify(selection, estimation, noises.from_spec(ask.noise), alpha, **extra)
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
