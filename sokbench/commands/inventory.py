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
    """The shipped networks with what their cards say."""
    cards = component("models.cards")
    return [{"name": name, **_model_fields(cards.card(name))} for name in cards.names()]


def _model_fields(card: Any) -> dict[str, Any]:
    import msgspec

    fields: dict[str, Any] = msgspec.to_builtins(card)
    fields.pop("name", None)
    return fields


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
