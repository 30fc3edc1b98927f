"""Which inputs of a split are used: a rule, written in the suite, and the indices it gives."""

from __future__ import annotations

import hashlib
import re

from ..core.errors import InvalidInput

_FORMS = '"all", "first:50", "stride:100", "random:100:seed=0" or "indices:3,17"'


def select(rule: str, n: int) -> list[int]:
    """Indices into a split of `n` inputs, ascending.

    all                 every input
    first:K             0 .. K-1
    stride:K            0, n/K, 2n/K, ... (the SoK's rule: for 10,000 inputs and K = 100, every hundredth)
    random:K:seed=S     K inputs without replacement; the same on every machine and version, and a larger K contains
                        the smaller ones of the same seed
    indices:I,J,...     exactly these
    Raises `InvalidInput` for anything else, and for more inputs than there are.
    """
    kind, _, rest = rule.partition(":")
    if rule == "all":
        return list(range(n))
    if kind == "first" and rest.isdecimal():
        return list(range(_count(rest, n, rule)))
    if kind == "stride" and rest.isdecimal():
        count = _count(rest, n, rule)
        return list(range(0, n, n // count))[:count]
    if kind == "random" and (match := re.fullmatch(r"(\d+):seed=(\d+)", rest)):
        return _random(_count(match[1], n, rule), n, int(match[2]))
    if kind == "indices" and re.fullmatch(r"\d+(,\d+)*", rest):
        return _listed([int(index) for index in rest.split(",")], n, rule)
    raise InvalidInput(f"unknown subset rule {rule!r}; use {_FORMS}")


def _count(text: str, n: int, rule: str) -> int:
    count = int(text)
    if not 1 <= count <= n:
        raise InvalidInput(f"the subset rule {rule!r} asks for {count} of {n} inputs")
    return count


def _random(count: int, n: int, seed: int) -> list[int]:
    # order by a hash instead of a library's generator, whose stream may change between versions
    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{index}".encode()).digest()

    return sorted(sorted(range(n), key=rank)[:count])


def _listed(indices: list[int], n: int, rule: str) -> list[int]:
    chosen = sorted(set(indices))
    if chosen[-1] >= n:
        raise InvalidInput(f"the subset rule {rule!r} names input {chosen[-1]}, but there are {n}")
    return chosen
