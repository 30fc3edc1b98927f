"""What there is to name on the command line, as plain objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..core.registry import catalog, component


def methods(kind: str) -> list[dict[str, Any]]:
    """Methods of a kind, each with its `MethodInfo`."""
    return [asdict(entry.info) for entry in catalog().values() if entry.info.kind == kind]


def models() -> list[dict[str, Any]]:
    """The shipped networks: what one wants to know first, then everything their cards say."""
    import msgspec

    cards = component("models.cards")
    return [{**_headline(card), **msgspec.to_builtins(card)} for card in map(cards.card, cards.names())]


def _headline(card: Any) -> dict[str, Any]:
    import msgspec

    accuracies = {measured.quantity: measured.accuracy for measured in card.measurements}
    return {
        "name": card.name,
        "architecture": card.recipe.architecture,
        "training": msgspec.to_builtins(card.recipe.objective)["kind"],
        "clean_accuracy": accuracies.get("clean"),
    }


def datasets() -> list[dict[str, Any]]:
    """Data sets with their sizes and whether they are on this machine."""
    from .. import data

    return [_dataset(data.info(name), data.availability(name)) for name in data.names()]


def _dataset(info: Any, availability: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "title": info.title,
        "classes": info.num_classes,
        "input_shape": list(info.input_shape),
        "sizes": dict(info.sizes),
        "available": availability.ready,
        "where": availability.detail,
        "source": info.source,
        "url": info.url,
    }


def suites() -> list[dict[str, Any]]:
    """Suites by name with title and description."""
    from .. import suites as found

    loaded = [found.load(name).file for name in found.names()]
    return [{"name": suite.name, "title": suite.title, "description": suite.description} for suite in loaded]


KINDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "verifier": lambda: methods("verifier"),
    "certifier": lambda: methods("certifier"),
    "attack": lambda: methods("attack"),
    "model": models,
    "dataset": datasets,
    "suite": suites,
}


def name_of(item: dict[str, Any]) -> str:
    """The name by which an inventory item is called on the command line."""
    return str(item.get("slug") or item["name"])
