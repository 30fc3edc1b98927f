"""Writing VNN-LIB: properties for other tools, and counterexamples in the form VNN-COMP asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .property import Case, Conjunction, Property

_ASSIGNMENT = re.compile(r"\(\s*([XY])_(\d+)\s+([^\s()]+)\s*\)")


def write_property(asked: Property) -> str:
    """The property as a VNN-LIB 1.0 text that reads back as the same. Numbers are written with all their digits."""
    lines = [f"(declare-const X_{index} Real)" for index in range(asked.inputs)]
    lines += [f"(declare-const Y_{index} Real)" for index in range(asked.outputs)]
    if len(asked.cases) == 1:
        (case,) = asked.cases
        lines += [f"(assert {bound})" for bound in _box(case)]
        lines.append(f"(assert (or {' '.join(_conjunction(unsafe) for unsafe in case.unsafe)}))")
    else:
        parts = (
            f"(and {' '.join(_box(case))} {_conjunction(unsafe)})" for case in asked.cases for unsafe in case.unsafe
        )
        lines.append("(assert (or\n" + "\n".join(parts) + "))")
    return "\n".join(lines) + "\n"


def _box(case: Case) -> Iterator[str]:
    for index, (low, high) in enumerate(zip(case.lower.tolist(), case.upper.tolist(), strict=True)):
        yield f"(>= X_{index} {_digits(low)})"
        yield f"(<= X_{index} {_digits(high)})"


def _conjunction(unsafe: Conjunction) -> str:
    rows = zip(unsafe.weight.tolist(), unsafe.bound.tolist(), strict=True)
    return f"(and {' '.join(_row(weight, bound) for weight, bound in rows)})"


def _row(weight: list[float], bound: float) -> str:
    """Differences of two outputs are written as the comparisons that every tool reads."""
    used = {index: factor for index, factor in enumerate(weight) if factor}
    signs = {factor: index for index, factor in used.items()}
    if len(used) == 1 and set(signs) <= {1.0, -1.0}:
        ((index, factor),) = used.items()
        return f"(<= Y_{index} {_digits(bound)})" if factor > 0 else f"(>= Y_{index} {_digits(-bound)})"
    if len(used) == 2 and set(signs) == {1.0, -1.0} and bound == 0:
        return f"(<= Y_{signs[1.0]} Y_{signs[-1.0]})"
    terms = " ".join(f"(* {_digits(factor)} Y_{index})" for index, factor in used.items())
    return f"(<= (+ {terms} 0.0) {_digits(bound)})"


def _digits(value: float) -> str:
    """All decimal digits of a float64, without an exponent."""
    text = f"{Decimal(value + 0.0):f}"
    return text if "." in text else f"{text}.0"


def write_counterexample(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]) -> str:
    """((X_0 0.5) ... (Y_0 1.25) ...), one value a line."""
    values = [*_assigned("X", x.tolist()), *_assigned("Y", y.tolist())]
    return "(" + "\n".join(values) + ")\n"


def _assigned(name: str, values: Iterable[float]) -> Iterator[str]:
    return (f"({name}_{index} {value!r})" for index, value in enumerate(values))


def read_counterexample(text: str) -> NDArray[np.float64]:
    """The input (inputs,) of a counterexample; outputs are ignored, since networks are evaluated again.

    Raises `InvalidInput` if there is none or its inputs are not X_0, X_1, and so on.
    """
    found = {int(index): number for name, index, number in _ASSIGNMENT.findall(text) if name == "X"}
    if not found or sorted(found) != list(range(len(found))):
        raise InvalidInput("the counterexample does not give X_0, X_1, … in the form ((X_0 0.5) …)")
    try:
        return np.array([float(found[index]) for index in range(len(found))])
    except ValueError as error:
        raise InvalidInput(f"the counterexample holds no number: {error}") from None
