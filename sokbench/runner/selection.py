"""`--only`: the part of a suite that patterns select."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from ..core.errors import InvalidInput, UnknownName
from ..suites.series import Batch

_FIELDS = ("task", "method", "model")


def select(batches: Iterable[Batch], patterns: Iterable[str]) -> list[Batch]:
    """The selected part of each batch; batches of which nothing is selected are left out.

    patterns: "field=glob" with the fields task, method, model, index; or a glob alone, which is of a method if one
        matches and of a model otherwise. Patterns of one field are alternatives; different fields must all hold.
    A sampling pass goes with the certificates that need it.
    Raises `InvalidInput` for an unknown field, `UnknownName` for a pattern that nothing matches.
    """
    whole = list(batches)
    allowed = _parse(patterns, {field: {getattr(b.series, field) for b in whole} for field in _FIELDS})
    if not allowed:
        return whole
    chosen = [_part(batch, allowed) for batch in whole]
    for position, batch in enumerate(whole):
        if batch.series.task == "sample":
            needed = {i for part in chosen if part.series.counts == batch.series for i in part.indices}
            chosen[position] = batch.restricted(needed.union(chosen[position].indices))
    return [batch for batch in chosen if batch.indices]


def _parse(patterns: Iterable[str], names: dict[str, set[str]]) -> dict[str, list[str]]:
    allowed: dict[str, list[str]] = {}
    for pattern in patterns:
        field, equals, value = pattern.partition("=")
        if not equals:
            field, value = "method" if fnmatch.filter(names["method"], pattern) else "model", pattern
            if not fnmatch.filter(names[field], value):
                raise UnknownName("method or model of this suite", pattern, names["method"] | names["model"])
        elif field not in (*_FIELDS, "index"):
            raise InvalidInput(f"--only {pattern!r}: select by task, method, model or index")
        elif field != "index" and not fnmatch.filter(names[field], value):
            raise UnknownName(f"{field} of this suite", value, names[field])
        allowed.setdefault(field, []).append(value)
    return allowed


def _part(batch: Batch, allowed: dict[str, list[str]]) -> Batch:
    if not all(_matches(getattr(batch.series, field), allowed.get(field)) for field in _FIELDS):
        return batch.restricted(set())
    return batch.restricted({i for i in batch.indices if _matches(str(i), allowed.get("index"))})


def _matches(value: str, globs: list[str] | None) -> bool:
    return globs is None or any(fnmatch.fnmatchcase(value, glob) for glob in globs)
