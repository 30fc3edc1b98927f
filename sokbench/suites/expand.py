"""From a suite to batches of jobs. Reads data and model cards, never torch.

Names are checked here, so that a misspelt method is an error before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .. import data
from ..core.errors import InvalidInput
from ..core.problem import Ball, parse_norm
from ..core.registry import component
from ..data.subset import select
from ..networks import network_sha256
from . import Suite
from .instances import decision_version, property_batch, read_instances
from .methods import Chosen, choose, resolve, sampling_version
from .schema import Block, CertifyBlock, Limits, MethodName, Model, PropertyBlock, SuiteFile, number, size
from .series import SAMPLING, Batch, Series

_DEFAULT_WALL, _DEFAULT_MEMORY, _DEFAULT_PREPARE = 60.0, "8 GiB", 300.0


@dataclass(frozen=True)
class Expansion:
    """batches: in the order of the suite, a certify batch after the sample batch it needs;
    datasets, models: what their names stand for (SHA-256); indices: chosen by each subset rule, "mnist5k first:10";
    untrained: networks that the suite does without, because they have a recipe and no weights here."""

    batches: tuple[Batch, ...]
    datasets: dict[str, str]
    models: dict[str, str]
    indices: dict[str, list[int]]
    untrained: tuple[str, ...] = ()


def expand(suite: Suite) -> Expansion:
    """All jobs of a suite. Raises `InvalidInput` naming the suite and the block for anything that does not fit."""
    expander = _Expander(suite)
    blocks = list(_blocks(suite.file))
    if not blocks:
        raise InvalidInput(
            f"{suite.path.name}: no [[verify]], [[radius]], [[certify]] or [[property]] block, so nothing to run"
        )
    batches: dict[bytes, Batch] = {}
    for task, place, block in blocks:
        try:
            for batch in expander.batches(task, block):
                _merge(batches, batch)
        except InvalidInput as error:
            written = f"{suite.path.name}, {place}: " if suite.path.is_file() else ""  # else asked on the command line
            raise InvalidInput(f"{written}{error}") from None
    untrained = tuple(expander.untrained)
    return Expansion(tuple(batches.values()), expander.datasets, expander.models, expander.indices, untrained)


def _blocks(file: SuiteFile) -> Iterator[tuple[str, str, Block | CertifyBlock | PropertyBlock]]:
    for position, block in enumerate(file.verify):
        yield "verify", f"verify[{position}]", block
    for position, block in enumerate(file.radius):
        yield "radius", f"radius[{position}]", block
    for position, smoothing in enumerate(file.certify):
        yield "certify", f"certify[{position}]", smoothing
    for position, properties in enumerate(file.property):
        yield "property", f"property[{position}]", properties


def _merge(batches: dict[bytes, Batch], new: Batch) -> None:
    """Two blocks may name the same job; it is one job."""
    identity = msgspec.json.encode(new.series, order="deterministic")
    old = batches.get(identity)
    if old is not None:
        labels = dict(zip((*old.indices, *new.indices), (*old.labels, *new.labels), strict=True))
        new = Batch(new.series, tuple(labels), tuple(labels.values()))
    batches[identity] = new


@dataclass
class _Expander:
    """Remembers what was looked up: a data set or a card is read once per suite."""

    suite: Suite
    datasets: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    indices: dict[str, list[int]] = field(default_factory=dict)
    untrained: list[str] = field(default_factory=list)
    _labels: dict[str, list[int]] = field(default_factory=dict)

    def batches(self, task: str, block: Block | CertifyBlock | PropertyBlock) -> Iterator[Batch]:
        if isinstance(block, PropertyBlock):
            yield from self._properties(block)
            return
        dataset, indices, labels = self._inputs(block)
        for model in self._models_of(block):
            common = self._common(block, dataset, model)
            if isinstance(block, CertifyBlock):
                series = self._smoothing(block, model, common)
            elif task == "verify":
                series = self._balls(block, model, common)
            else:
                series = self._radii(block, common)
            for one in series:
                yield Batch(one, indices, labels)

    def _inputs(self, block: Block | CertifyBlock) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        name = block.dataset or self.suite.file.dataset
        if not name:
            raise InvalidInput('no data set; give dataset = "mnist5k" for the suite or the block')
        rule = block.subset or self.suite.file.subset
        if name not in self.datasets:
            split = data.load(name).test
            self.datasets[name], self._labels[name] = split.sha256, split.labels.tolist()
        labels = self._labels[name]
        indices = self.indices.setdefault(f"{name} {rule}", select(rule, len(labels)))
        return name, tuple(indices), tuple(labels[index] for index in indices)

    def _models_of(self, block: Block | CertifyBlock) -> list[Model]:
        written = self.suite.file.models if block.models is None else block.models
        if not written:
            raise InvalidInput("no models; give models = [...] for the suite or the block")
        models = [Model(name=model) if isinstance(model, str) else model for model in written]
        return [model for model in models if not self._untrained(model.name)]

    def _untrained(self, name: str) -> bool:
        """Whether the suite does without a network because there is a recipe for it, but no weights are here."""
        if not self.suite.file.skip_untrained or name in component("models.cards").names():
            return False
        if name not in component("models.recipes").RECIPES:
            return False
        if name not in self.untrained:
            self.untrained.append(name)
        return True

    def _common(self, block: Block | CertifyBlock, dataset: str, model: Model) -> dict[str, Any]:
        """The fields that all series of a block on one model share."""
        source = str(resolve(model.name, self.suite.base)) if model.name.endswith((".onnx", ".onnx.gz")) else model.name
        if model.name not in self.models:
            self.models[model.name] = network_sha256(source)
        limit, memory, prepare = _limits(block.limits, self.suite.file.limits)
        return {
            "dataset": dataset,
            "data_sha256": self.datasets[dataset],
            "input_shape": data.info(dataset).input_shape,
            "model": model.name,
            "model_source": source,
            "model_sha256": self.models[model.name],
            "limit": limit,
            "memory": memory,
            "prepare_limit": prepare,
            "seed": self.suite.file.seed if block.seed is None else block.seed,
        }

    def _balls(self, block: Block, model: Model, common: dict[str, Any]) -> Iterator[Series]:
        radii = next((given for given in (model.radii, block.radii, self.suite.file.radii) if given is not None), ())
        if not radii:
            raise InvalidInput("no radii; give radii = [...] for the suite, the block or the model")
        box = self._box(block)
        for method in self._methods(block.methods):
            for radius in map(number, radii):
                Ball(box["norm"], radius, box["low"], box["high"])  # raises for a radius that is none
                yield Series(task="verify", radius=radius, **box, **_named(method), **common)

    def _radii(self, block: Block, common: dict[str, Any]) -> Iterator[Series]:
        for method in self._methods(block.methods):
            yield Series(task="radius", **self._box(block), **_named(method), **common)

    def _smoothing(self, block: CertifyBlock, model: Model, common: dict[str, Any]) -> Iterator[Series]:
        noise = model.noise or block.noise
        if noise is None:
            raise InvalidInput(f'no noise for {model.name}; give noise = {{kind = "gaussian", sigma = 0.5}}')
        noise = component("randomized_smoothing.noise").from_spec(noise).to_spec()
        if block.n0 < 1 or block.n < 1 or not 0 < block.alpha < 1:
            raise InvalidInput(
                f"n0 and n must be at least 1 and alpha in (0, 1), not {block.n0}, {block.n}, {block.alpha}"
            )
        samples: dict[str, Any] = {"n0": block.n0, "n": block.n}
        if block.precision != "float32":
            samples["precision"] = block.precision
            if block.statistics:
                raise InvalidInput(
                    f"statistics are of float32 outputs; leave them out, or precision = {block.precision!r}"
                )
        stop, deciding = self._stop(block)
        extra: dict[str, Any] = {"stop": stop, "alpha": block.alpha} if stop else {}
        if block.statistics:
            extra["statistics"] = True
        sample = Series(
            task="sample",
            method=SAMPLING,
            method_source="",
            method_version=sampling_version(deciding),
            parameters={**samples, **extra},
            norm="",
            noise=noise,
            **common,
        )
        yield sample
        for written in block.certifiers:
            certifier = choose(written, ("certifier",), self.suite.base)
            named = _named(certifier)
            named["parameters"] = {**certifier.parameters, **samples, **({"stopped": True} if stop else {})}
            norm = certifier.entry.info.norms[0]
            yield Series(task="certify", norm=norm, noise=noise, alpha=block.alpha, counts=sample, **named, **common)

    def _stop(self, block: CertifyBlock) -> tuple[list[dict[str, Any]], list[Chosen]]:
        """What a sampling pass is told about when to stop, and the certifiers that it asks."""
        told, deciding = [], []
        for written in block.stop:
            rest = dict(written)
            radii = [number(radius) for radius in rest.pop("radii", ())]
            certifier = choose(rest, ("certifier",), self.suite.base)
            if not radii or certifier.source or certifier.entry.info.deterministic:
                raise InvalidInput(
                    "stop wants certifiers of this project that work on samples, each with radii = [...], not "
                    f"{written}"
                )
            told.append({"method": certifier.slug, "parameters": certifier.parameters, "radii": sorted(set(radii))})
            deciding.append(certifier)
        return told, deciding

    def _properties(self, block: PropertyBlock) -> Iterator[Batch]:
        """A batch per method and instance, instances of one network next to each other."""
        file = self.suite.file
        given = next((wall for wall in (block.limits.wall, file.limits.wall) if wall is not None), math.inf)
        _, memory, prepare = _limits(block.limits, file.limits)
        seed = file.seed if block.seed is None else block.seed
        instances = read_instances(block.instances, block.expected, self.suite.base)
        for instance in instances:
            self.models.setdefault(instance.network, instance.network_sha256)
            self.indices.setdefault(f"{instance.category} instances", []).append(instance.index)
        for method in self._methods(block.methods):
            version = f"{method.version}-{decision_version()}"
            for instance in sorted(instances, key=lambda each: (each.category, each.network, each.index)):
                yield property_batch(instance, method, version, min(instance.seconds, given), prepare, memory, seed)

    def _methods(self, written: tuple[MethodName, ...]) -> list[Chosen]:
        if not written:
            raise InvalidInput("methods = [] names no method")
        return [choose(name, ("verifier", "attack"), self.suite.base) for name in written]

    def _box(self, block: Block) -> dict[str, Any]:
        box = self.suite.file.box if block.box is None else block.box
        if len(box) not in (0, 2):
            raise InvalidInput(f"the box is [low, high], or [] for none, not {list(box)}")
        low, high = box if box else (None, None)
        norm = parse_norm(block.norm or self.suite.file.norm)
        Ball(norm, 0.0, low, high)  # raises for an empty box
        skip = self.suite.file.skip_after_timeouts if block.skip_after_timeouts is None else block.skip_after_timeouts
        return {"norm": norm, "low": low, "high": high, "skip_after": skip}


def _named(method: Chosen) -> dict[str, Any]:
    return {
        "method": method.slug,
        "method_source": method.source,
        "method_version": method.version,
        "parameters": method.parameters,
    }


def _limits(block: Limits, suite: Limits) -> tuple[float, int, float]:
    """(wall seconds, memory in bytes, prepare seconds): the block's, else the suite's, else 60 s, 8 GiB, 300 s."""
    wall = next((given for given in (block.wall, suite.wall) if given is not None), _DEFAULT_WALL)
    prepare = next((given for given in (block.prepare, suite.prepare) if given is not None), _DEFAULT_PREPARE)
    for name, seconds in (("wall", wall), ("prepare", prepare)):
        if not (math.isfinite(seconds) and seconds > 0):
            raise InvalidInput(f"limits.{name} must be a positive number of seconds, not {seconds}")
    return wall, size(block.memory or suite.memory or _DEFAULT_MEMORY), prepare
