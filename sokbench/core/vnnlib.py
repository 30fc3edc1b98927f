"""Reading VNN-LIB 1.0, the language VNN-COMP poses its questions in (2020 to 2025).

    (declare-const X_0 Real)                        inputs X_i and outputs Y_i, flattened in row-major order
    (assert (<= X_0 0.5))                           all assertions together describe what would be a violation
    (assert (or (and (<= Y_0 Y_1)) (and (>= Y_2 3))))

Understood: and, or, <=, >=, = of linear terms with +, - and * by numbers. Unsupported are constraints that tie inputs
to each other or to outputs, strict inequalities and negation. Numbers are read exactly and rounded as `Property` says.

A parser of our own, because the package `vnnlib` 1.0 (2026) reads VNN-LIB 2.0 alone and refuses these files; its 0.0.1
reads the largest of 2021 (340 kB) into a syntax tree in 0.06 s. This takes 0.03 s, to the finished property.

The VNN-LIB standard: https://www.vnnlib.org
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput, Unsupported
from .property import Case, Conjunction, Property, rounded_down, rounded_up

_TOKEN = re.compile(r"[()]|[^\s()]+")
# an assertion on one input and a declaration as generators write them: most of most files, 10 times faster this way
_BOUND = re.compile(r"\(assert\s+\((<=|>=)\s+X_(\d+)\s+([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*\)\s*\)")
_DECLARATION = re.compile(r"\(declare-const\s+([XY])_(\d+)\s+Real\s*\)")
_COMMENT = re.compile(r";[^\n]*")
_VARIABLE = re.compile(r"([XY])_(\d+)")
_IGNORED = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "exit")
_MOST_CASES = 10_000

Vector = NDArray[np.float64]
Expression = str | list["Expression"]
Variable = tuple[str, int]


class _Linear(NamedTuple):
    """terms (without zeros) + constant."""

    terms: dict[Variable, Fraction]
    constant: Fraction


class _Row(NamedTuple):
    """terms <= bound, over outputs."""

    terms: dict[Variable, Fraction]
    bound: Fraction


class _Cube(NamedTuple):
    """A conjunction: bounds of inputs, rounded outward, and rows over outputs."""

    lower: dict[int, float]
    upper: dict[int, float]
    rows: tuple[_Row, ...]


def read_property(path: Path) -> Property:
    """The property in a .vnnlib file, or .vnnlib.gz.

    Raises `InvalidInput`, with one line, for a file that is missing, cut off or no VNN-LIB, and `Unsupported` for what
    is VNN-LIB but not understood here.
    """
    if not path.is_file():
        raise InvalidInput(f"no such file: {path}")
    data = path.read_bytes()
    try:
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is no complete text file: {error}") from None
    try:
        return parse_property(text)
    except InvalidInput as error:
        raise InvalidInput(f"{path.name}: {error}") from None
    except Unsupported as reason:
        raise Unsupported(f"{path.name}: {reason}") from None


def parse_property(text: str) -> Property:
    """The property in a text. Raises as `read_property` does."""
    text = _COMMENT.sub("", text)
    counts = {"X": 0, "Y": 0}
    for kind, index in _DECLARATION.findall(text):
        _count(kind, int(index), counts)
    fixed = _Cube({}, {}, ())
    for relation, index, number in _BOUND.findall(text):
        fixed = _meet(fixed, _bound(int(index), Decimal(number), relation == ">="))
    choices: list[list[_Cube]] = []
    for command in _expressions(_BOUND.sub("", _DECLARATION.sub("", text))):
        name = command[0] if isinstance(command, list) and command else command
        if name in ("declare-const", "declare-fun"):
            _declare(command, counts)
        elif name == "assert" and len(command) == 2:
            choices.append(_cubes(command[1], counts))
        elif name not in _IGNORED:
            raise InvalidInput(f"{_shown(command)} is no command of VNN-LIB 1.0")
    if any(index >= counts["X"] for bounds in (fixed.lower, fixed.upper) for index in bounds):
        raise InvalidInput(f"X_{max([*fixed.lower, *fixed.upper])} is not declared")
    if not counts["X"] or not counts["Y"]:
        raise InvalidInput("no inputs X_0, … or no outputs Y_0, … are declared")
    if np.prod([float(len(cubes)) for cubes in choices]) > _MOST_CASES:
        raise Unsupported(f"more than {_MOST_CASES:,} cases when its alternatives are multiplied out")
    cubes = [_meet_all(fixed, combination) for combination in product(*choices)]
    return Property(counts["X"], counts["Y"], tuple(_cases(cubes, counts)))


def _expressions(text: str) -> Iterator[Expression]:
    """The top-level expressions, lists nested as the parentheses are."""
    stack: list[list[Expression]] = []
    for token in _TOKEN.findall(text):
        if token == "(":
            stack.append([])
        elif token == ")":
            if not stack:
                raise InvalidInput("a closing parenthesis too many")
            done = stack.pop()
            if stack:
                stack[-1].append(done)
            else:
                yield done
        elif stack:
            stack[-1].append(token)
        else:
            raise InvalidInput(f"{token!r} stands outside of all parentheses")
    if stack:
        raise InvalidInput(f"the file ends inside {_shown(stack[0])}")


def _declare(command: Expression, counts: dict[str, int]) -> None:
    name = command[1] if len(command) > 1 else ""
    match = _VARIABLE.fullmatch(name) if isinstance(name, str) else None
    if match is None or command[-1] != "Real":
        raise Unsupported(f"{_shown(command)}: only real X_i and Y_i can be declared")
    _count(match[1], int(match[2]), counts)


def _count(kind: str, index: int, counts: dict[str, int]) -> None:
    if index != counts[kind]:
        raise InvalidInput(f"{kind}_{index} is declared where {kind}_{counts[kind]} is due")
    counts[kind] += 1


def _bound(index: int, limit: Decimal | Fraction, below: bool) -> _Cube:
    """X_index >= limit if `below`, else X_index <= limit."""
    if below:
        return _Cube({index: rounded_down(limit)}, {}, ())
    return _Cube({}, {index: rounded_up(limit)}, ())


def _cubes(formula: Expression, counts: dict[str, int]) -> list[_Cube]:
    """The disjunctive normal form of a formula."""
    if isinstance(formula, str) or not formula or not isinstance(formula[0], str):
        raise InvalidInput(f"{_shown(formula)} is no formula")
    name, arguments = formula[0], formula[1:]
    if name == "or":
        return [cube for part in arguments for cube in _cubes(part, counts)]
    if name == "and":
        parts = [_cubes(part, counts) for part in arguments]
        if np.prod([float(len(cubes)) for cubes in parts]) > _MOST_CASES:
            raise Unsupported(f"more than {_MOST_CASES:,} cases when its alternatives are multiplied out")
        return [_meet_all(_Cube({}, {}, ()), combination) for combination in product(*parts)]
    if name in ("<=", ">=", "=") and len(arguments) == 2:
        left, right = (_linear(argument, counts) for argument in arguments)
        less, more = _atom(left, right, formula), _atom(right, left, formula)
        return [less if name == "<=" else more if name == ">=" else _meet(less, more)]
    raise Unsupported(f"{_shown(formula)}: only and, or, <=, >= and = are understood")


def _atom(left: _Linear, right: _Linear, formula: Expression) -> _Cube:
    """left <= right."""
    terms = _combined(left.terms, right.terms, Fraction(-1))
    bound = right.constant - left.constant
    kinds = {kind for kind, _ in terms}
    if kinds == {"X"} and len(terms) == 1:
        (((_, index), factor),) = terms.items()
        return _bound(index, bound / factor, below=factor < 0)
    if "X" in kinds:
        raise Unsupported(f"{_shown(formula)}: constraints between inputs, or of inputs and outputs together")
    return _Cube({}, {}, (_Row(terms, bound),))


def _linear(expression: Expression, counts: dict[str, int]) -> _Linear:
    if isinstance(expression, str):
        match = _VARIABLE.fullmatch(expression)
        if match is None:
            return _Linear({}, _number(expression))
        variable = (match[1], int(match[2]))
        if variable[1] >= counts[variable[0]]:
            raise InvalidInput(f"{expression} is not declared")
        return _Linear({variable: Fraction(1)}, Fraction(0))
    if len(expression) < 2 or expression[0] not in ("+", "-", "*"):
        raise Unsupported(f"{_shown(expression)}: only +, - and * by numbers are understood")
    parts = [_linear(part, counts) for part in expression[1:]]
    if expression[0] == "*":
        return _product(parts, expression)
    if expression[0] == "-" and len(parts) == 1:
        return _sum(_Linear({}, Fraction(0)), parts[0], Fraction(-1))
    total, sign = parts[0], Fraction(-1 if expression[0] == "-" else 1)
    for part in parts[1:]:
        total = _sum(total, part, sign)
    return total


def _number(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidInput(f"{text!r} is neither a number nor a variable X_i or Y_i") from None


def _product(parts: list[_Linear], expression: Expression) -> _Linear:
    total = _Linear({}, Fraction(1))
    for part in parts:
        if total.terms and part.terms:
            raise Unsupported(f"{_shown(expression)}: the product of two variables")
        (scaled, factor) = (part, total.constant) if part.terms else (total, part.constant)
        total = _sum(_Linear({}, Fraction(0)), scaled, factor)
    return total


def _sum(a: _Linear, b: _Linear, factor: Fraction) -> _Linear:
    """a + factor * b."""
    return _Linear(_combined(a.terms, b.terms, factor), a.constant + factor * b.constant)


def _combined(a: dict[Variable, Fraction], b: dict[Variable, Fraction], factor: Fraction) -> dict[Variable, Fraction]:
    if not b:
        return a
    terms = dict(a)
    for variable, value in b.items():
        terms[variable] = terms.get(variable, Fraction(0)) + factor * value
    return {variable: value for variable, value in terms.items() if value}


def _meet(a: _Cube, b: _Cube) -> _Cube:
    """Both. The first may be changed: it belongs to the caller, who goes on with the result."""
    for index, value in b.lower.items():
        a.lower[index] = max(value, a.lower.get(index, value))
    for index, value in b.upper.items():
        a.upper[index] = min(value, a.upper.get(index, value))
    return _Cube(a.lower, a.upper, a.rows + b.rows)


def _meet_all(first: _Cube, others: tuple[_Cube, ...]) -> _Cube:
    total = _Cube(dict(first.lower), dict(first.upper), first.rows)
    for other in others:
        total = _meet(total, other)
    return total


def _cases(cubes: list[_Cube], counts: dict[str, int]) -> Iterator[Case]:
    """Cubes with the same box together, in the order of their first; cubes that nothing satisfies are left out."""
    grouped: dict[bytes, tuple[Vector, Vector, list[Conjunction]]] = {}
    for cube in cubes:
        rows = [row for row in cube.rows if row.terms or row.bound < 0]
        empty = any(low > cube.upper.get(index, low) for index, low in cube.lower.items())
        if empty or any(not row.terms for row in rows):
            continue
        lower, upper = _bounds(cube, counts["X"])
        _, _, unsafe = grouped.setdefault(lower.tobytes() + upper.tobytes(), (lower, upper, []))
        unsafe.append(_conjunction(rows, counts["Y"]))
    for lower, upper, unsafe in grouped.values():
        yield Case(lower, upper, tuple(unsafe))


def _bounds(cube: _Cube, inputs: int) -> tuple[Vector, ...]:
    for name, bounds in (("lower", cube.lower), ("upper", cube.upper)):
        missing = next((index for index in range(inputs) if index not in bounds), None)
        if missing is not None:
            raise Unsupported(f"X_{missing} has no {name} bound")
    return tuple(np.array([bounds[index] + 0.0 for index in range(inputs)]) for bounds in (cube.lower, cube.upper))


def _conjunction(rows: list[_Row], outputs: int) -> Conjunction:
    """Without rows every output is unsafe: 0 <= 0."""
    weight, bound = np.zeros((max(1, len(rows)), outputs)), np.zeros(max(1, len(rows)))
    for place, row in enumerate(rows):
        bound[place] = rounded_up(row.bound) + 0.0  # no negative zero
        for (_, index), factor in row.terms.items():
            weight[place, index] = float(factor)
    return Conjunction(weight, bound)


def _shown(expression: Expression) -> str:
    text = expression if isinstance(expression, str) else "(" + " ".join(map(_shown, expression[:4])) + ")"
    return text if len(text) <= 60 else text[:59] + "…"
