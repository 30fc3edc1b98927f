"""Lee et al.'s l0 certificate for noise that keeps or replaces each coordinate.

Each of the coordinates keeps its value with chance a and takes each of the other K - 1 values with chance
b = (1 - a) / (K - 1). Let x and x' differ in r coordinates; u of these take the value of x, v that of x', and the rest
neither. A noisy copy is (a/b)^(u - v) times as likely from x as from x', and the chance that u - v = s from x is

    A(s) = sum over u - v = s of r! / (u! v! (r - u - v)!) a^u b^v (1 - a - b)^(r - u - v),

from x' it is A(-s) = A(s) (b/a)^s. By Neyman and Pearson the worst class A with P[A] >= p takes the copies with the
largest u - v first. The top class survives if its chance from x' then exceeds 1/2, that is if p exceeds a threshold

    p(r) = A(r) + ... + A(s + 1) + (1/2 - A(-r) - ... - A(-s - 1)) (a/b)^s,

with s the first place where the chances from x' pass 1/2. The threshold does not depend on the number of coordinates
(those that agree cancel), so the counting over d of the paper is not needed; it is computed in O(r^2) rational
operations, exactly, and rounded up. Nothing is relaxed for q = 1 - p; a smaller q is not used. Sound for any base
classifier, l0 (coordinates; inputs of K values), with confidence 1 - alpha.

Guang-He Lee, Yang Yuan, Shiyu Chang, Tommi Jaakkola: Tight Certificates of Adversarial Robustness for Randomly Smoothed
Classifiers, NeurIPS 2019.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Final, final

import numpy as np

from sokbench.core.method import MethodInfo

from .count_certifier import CountCertifier, whole
from .noise import Noise, Replacement

if TYPE_CHECKING:
    from .count_certifier import Floats

LARGEST_RADIUS: Final = 64
"""Radii are searched up to this one; larger ones need p within some 1e-15 of 1 at the usual parameters."""


@final
class L0Keep(CountCertifier):
    """The largest r whose threshold p(r) is below p, l0."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="l0_keep",
        title="Discrete l0 smoothing (Lee et al.)",
        kind="certifier",
        family="randomized smoothing",
        norms=("l0",),
        summary="The exact number of coordinates that may change when noise keeps each with a given chance.",
        paper="Lee et al.: Tight Certificates of Adversarial Robustness for Randomly Smoothed Classifiers, "
        "NeurIPS 2019",
        url="https://arxiv.org/abs/1906.04948",
        deterministic=False,
        uses_box=False,
    )
    noises: ClassVar[tuple[type[Noise], ...]] = (Replacement,)

    def closed_form(self, p: Floats, tail: Floats, q: Floats, noise: Replacement) -> tuple[Floats, Floats]:
        radius = np.zeros(p.shape)
        # p > q alone does not put A above 1/2
        going = (p > 0.5) & (tail < 0.5)
        for r in range(1, LARGEST_RADIUS + 1):
            going &= tail < tail_needed(noise.keep, noise.levels, r)
            if not going.any():
                break
            radius[going] = r
        return whole(radius)


@cache
def tail_needed(keep: float, levels: int, r: int) -> float:
    """1 - p(r), rounded down: below it, 1 - p certifies that r coordinates may change."""
    a = Fraction(keep)
    b = (1 - a) / (levels - 1)
    chance = chances(a, b, r)
    needed, from_other = Fraction(0), Fraction(0)
    for s in range(r, -r - 1, -1):
        mirrored = chance[-s]
        if from_other + mirrored >= Fraction(1, 2):
            needed += (Fraction(1, 2) - from_other) * chance[s] / mirrored
            break
        needed, from_other = needed + chance[s], from_other + mirrored
    return math.nextafter(float(1 - needed), -math.inf)


def chances(a: Fraction, b: Fraction, r: int) -> dict[int, Fraction]:
    """A(s) for s from -r to r."""
    found = dict.fromkeys(range(-r, r + 1), Fraction(0))
    for u in range(r + 1):
        for v in range(r - u + 1):
            ways = math.comb(r, u) * math.comb(r - u, v)
            found[u - v] += ways * a**u * b**v * (1 - a - b) ** (r - u - v)
    return found
