"""Exact confidence bounds for a probability, from a count of successes (Clopper and Pearson, 1934).

The bounds are found by bisection over the floating point numbers themselves, on the binomial tail, and the end
returned is the one that was checked to satisfy the tail condition. So they err towards the safe side whatever the
starting point, and tiny bounds keep full relative precision: to know 1 - p accurately for p near 1, ask for the upper
bound of the failures instead of subtracting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaincc

from sokbench.core.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

# `betainc` and `betaincc` are wrong by less than this, relative to their value (measured against 50 digits: at most
# 2e-13 for n up to 1e6 and tails from 1e-6 to 1/2; tests/randomized_smoothing/test_confidence.py). Asking for a tail
# this much smaller than alpha makes the bound hold for the true tail and costs nothing that can be seen.
TAIL_ERROR = 1e-11


def lower_bound(successes: ArrayLike, trials: ArrayLike, alpha: float) -> Floats:
    """Largest p, rounded down, that `successes` out of `trials` refutes: P[Bin(trials, p) >= successes] <= alpha.

    The true probability lies below the bound with a chance of at most alpha. 0 for no successes; arrays broadcast.
    Raises `InvalidInput` for counts outside 0..trials, no trials, or alpha outside (0, 1).
    """
    k, n = _checked(successes, trials, alpha)
    level = alpha * (1.0 - TAIL_ERROR)

    def refuted(p: Floats) -> NDArray[np.bool_]:
        # P[Bin(n, p) >= k] = I_p(k, n - k + 1); k = 0 never refutes, and its bound stays where the bisection starts
        tail: Floats = betainc(np.maximum(k, 1), n - k + 1.0, p)
        return (k > 0) & (tail <= level)

    return bisect_floats(refuted, good=np.zeros(k.shape), bad=(k / n))


def upper_bound(successes: ArrayLike, trials: ArrayLike, alpha: float) -> Floats:
    """Smallest p, rounded up, that is refuted from the other side: P[Bin(trials, p) <= successes] <= alpha.

    1 where all trials succeed; otherwise as `lower_bound`, whose complement it is: upper_bound(n - k, n) = 1 -
    lower_bound(k, n), but with the relative precision that the subtraction loses.
    """
    k, n = _checked(successes, trials, alpha)
    level = alpha * (1.0 - TAIL_ERROR)

    def refuted(p: Floats) -> NDArray[np.bool_]:
        # P[Bin(n, p) <= k] = 1 - I_p(k + 1, n - k)
        tail: Floats = betaincc(k + 1.0, np.maximum(n - k, 1), p)
        return (k < n) & (tail <= level)

    return bisect_floats(refuted, good=np.ones(k.shape), bad=(k / n))


def interval(successes: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Floats, Floats]:
    """Two-sided bounds (low, high): the true probability lies outside with a chance of at most alpha, half per side.

    As a lower bound alone the first one is needlessly low: `lower_bound` spends all of alpha on one side.
    """
    return lower_bound(successes, trials, alpha / 2), upper_bound(successes, trials, alpha / 2)


def top_and_others(counts: ArrayLike, top: int, alpha: float) -> tuple[Floats, Floats, Floats]:
    """(p, tail, q) from class counts (classes,), with Bonferroni's correction over the classes.

    p: lower bound of class `top`; tail: upper bound of 1 - p, the same event; q: upper bound of every other class. Each
    of the `classes` bounds is spent alpha / classes, so all hold together with confidence 1 - alpha, whichever class
    turns out to be the second. q is never more than tail.
    """
    k = np.asarray(counts)
    n, share = k.sum(), alpha / len(k)
    p, tail = lower_bound(k[top], n, share), upper_bound(n - k[top], n, share)
    # the bound grows with the count, so that of the largest count is the largest
    return p, tail, np.minimum(upper_bound(np.delete(k, top).max(), n, share), tail)


def randomized_lower_bound(successes: ArrayLike, trials: ArrayLike, alpha: float, uniform: ArrayLike) -> Floats:
    """Stevens' (1950) lower bound: wrong with a chance of exactly alpha, and never below `lower_bound`.

    uniform: independent of the count, uniform on [0, 1], one per bound. The largest p with P[Bin(trials, p) >
    successes] + uniform * P[Bin(trials, p) = successes] <= alpha; uniform = 1 gives `lower_bound`. What it gains fades
    as 1 / sqrt(trials). A draw that is chosen or repeated after the count is known voids it.
    """
    k, n = _checked(successes, trials, alpha)
    u = np.asarray(uniform, dtype=np.float64)
    if not bool(((u >= 0.0) & (u <= 1.0)).all()):
        raise InvalidInput("the uniform draws must lie between 0 and 1")
    k, n, u = np.broadcast_arrays(k, n, u)
    level = alpha * (1.0 - TAIL_ERROR)

    def refuted(p: Floats) -> NDArray[np.bool_]:
        at_least = np.where(k > 0, betainc(np.maximum(k, 1), n - k + 1.0, p), 1.0)
        more = np.where(k < n, betainc(k + 1.0, np.maximum(n - k, 1), p), 0.0)
        # a sum of two terms that are not negative: no cancellation
        smaller: NDArray[np.bool_] = (1.0 - u) * more + u * at_least <= level
        return smaller

    return bisect_floats(refuted, good=np.zeros(k.shape), bad=np.ones(k.shape))


def bisect_floats(holds: Callable[[Floats], NDArray[np.bool_]], good: Floats, bad: Floats) -> Floats:
    """The neighbour of the border between `bad` and `good` on the good side, by bisection over float bit patterns.

    Neither end is tried: `good` is what remains where nothing else holds. Non-negative floats are ordered like the
    integers with the same bits, so 62 halvings reach the last bit.
    """
    inside, outside = good.view(np.int64).copy(), bad.view(np.int64).copy()
    while bool((np.abs(inside - outside) > 1).any()):
        middle = (inside & outside) + ((inside ^ outside) >> 1)
        kept = holds(middle.view(np.float64))
        inside = np.where(kept, middle, inside)
        outside = np.where(kept, outside, middle)
    return inside.view(np.float64)


def _checked(successes: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[Integers, Integers]:
    k, n = np.broadcast_arrays(np.asarray(successes), np.asarray(trials))
    if not (np.issubdtype(k.dtype, np.integer) and np.issubdtype(n.dtype, np.integer)):
        raise InvalidInput(f"counts must be integers, not {k.dtype} and {n.dtype}")
    if not 0.0 < alpha < 1.0:
        raise InvalidInput(f"alpha must lie strictly between 0 and 1, not {alpha}")
    if bool((n < 1).any()):
        raise InvalidInput("no samples: a confidence bound needs at least one trial")
    if bool(((k < 0) | (k > n)).any()):
        raise InvalidInput("the successes must lie between 0 and the number of trials")
    return k.astype(np.int64), n.astype(np.int64)
