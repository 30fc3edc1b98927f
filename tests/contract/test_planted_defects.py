"""The contract must be able to fail: each defect planted in an otherwise honest method is caught by its check."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from sokbench.contract import check, deadline
from sokbench.contract.checks import CHECKS, run_check
from sokbench.core.certifier import ABSTAIN, Certificate, Certifier
from sokbench.core.deadline import Deadline
from sokbench.core.errors import Unsupported
from sokbench.core.method import Attack, BoundingVerifier, CompleteVerifier, MethodInfo
from sokbench.core.network import Network
from sokbench.core.outcome import Outcome, Verdict
from sokbench.core.problem import Ball, Problem
from sokbench.core.registry import Entry


def failures_of(name: str, subject: Any) -> tuple[str, ...]:
    (item,) = (item for item in CHECKS if item.name == name)
    return run_check(item, subject).failures


class PlantedBounds(BoundingVerifier):
    """Interval bounds in float64, with a defect on request. No final class: the defects below are its variants."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="test_planted_defects",
        title="Planted",
        kind="verifier",
        family="interval",
        norms=("linf",),
        summary="Interval bounds with a defect.",
        paper="none",
    )

    def margins(
        self,
        network: Network,
        x: Tensor,
        labels: Tensor,
        ball: Ball,
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> Tensor:
        if ball.norm != "linf":
            raise Unsupported("linf only")
        low, high = interval(network, x, ball.radius, ball)
        top = low.gather(1, labels[:, None])
        margins = top - high - 1e-9 * (1 + high.abs())
        return margins.scatter(1, labels[:, None], torch.inf)


def interval(network: Network, x: Tensor, radius: float, ball: Ball) -> tuple[Tensor, Tensor]:
    low = (x.double() - radius).clamp_min(-torch.inf if ball.low is None else ball.low)
    high = (x.double() + radius).clamp_max(torch.inf if ball.high is None else ball.high)
    for layer in network.module.children():
        if isinstance(layer, nn.ReLU):
            low, high = low.relu(), high.relu()
        elif isinstance(layer, nn.Flatten):
            low, high = low.flatten(1), high.flatten(1)
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            centre, width = (low + high) / 2, (high - low) / 2
            weight, bias = layer.weight.double(), layer.bias.double()  # type: ignore[union-attr]
            if isinstance(layer, nn.Linear):
                centre, width = centre @ weight.T + bias, width @ weight.abs().T
            else:
                centre = nn.functional.conv2d(centre, weight, bias, layer.stride, layer.padding)
                width = nn.functional.conv2d(width, weight.abs(), None, layer.stride, layer.padding)
            low, high = centre - width, centre + width
        else:
            raise Unsupported(f"no bounds for {type(layer).__name__}")
    return low.detach(), high.detach()


HONEST = PlantedBounds.margins
Margins = Callable[..., Tensor]


def too_high(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, ball) + 0.8 * ball.radius


def ignores_the_radius(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, Ball(ball.norm, 0.0, ball.low, ball.high))


def rounds_to_float32(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    low, high = interval(network, x, ball.radius, ball)
    margins = low.gather(1, labels[:, None]) - high
    return margins.float().scatter(1, labels[:, None], torch.inf)


def loose_at_zero(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, ball) - 0.1


def rises_with_the_radius(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, ball) - (1.0 if ball.radius < 0.05 else 0.0)


def favours_the_last_class(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    margins = HONEST(self, network, x, labels, ball)
    margins[:, 0] -= 0.1
    return margins


def mixes_the_batch(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    margins = HONEST(self, network, x, labels, ball)
    return torch.minimum(margins, margins.amin(dim=0, keepdim=True)).scatter(1, labels[:, None], torch.inf)


def wrong_shape(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, ball).amin(dim=1)


def zero_at_the_label(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, ball).scatter(1, labels[:, None], 0.0)


def nan_somewhere(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    margins = HONEST(self, network, x, labels, ball)
    return torch.where(margins < -1, torch.nan, margins)


def answers_any_norm(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    return HONEST(self, network, x, labels, Ball("linf", ball.radius, ball.low, ball.high))


def skips_unknown_layers(self: Any, network: Network, x: Tensor, labels: Tensor, ball: Ball, *rest: Any) -> Tensor:
    known = [layer for layer in network.module.children() if isinstance(layer, (nn.Linear, nn.ReLU))]
    stripped = Network("stripped", nn.Sequential(*known), network.input_shape, network.num_classes, "")
    return HONEST(self, stripped, x, labels, ball)


def prints(self: Any, *arguments: Any) -> Tensor:
    print("iteration 1")
    return HONEST(self, *arguments)


def writes_like_a_solver(self: Any, *arguments: Any) -> Tensor:
    os.write(1, b"Set parameter Username\n")
    return HONEST(self, *arguments)


def changes_x(self: Any, network: Network, x: Tensor, *rest: Any) -> Tensor:
    margins = HONEST(self, network, x, *rest)
    x.clamp_(0.1, 0.9)
    return margins


def changes_the_network(self: Any, network: Network, *rest: Any) -> Tensor:
    margins = HONEST(self, network, *rest)
    network.module.requires_grad_(not next(network.module.parameters()).requires_grad)
    return margins


def draws_globally(self: Any, *arguments: Any) -> Tensor:
    return HONEST(self, *arguments) - 1e-3 * torch.rand(1)


def changes_the_dtype(self: Any, *arguments: Any) -> Tensor:
    torch.set_default_dtype(torch.float64)
    return HONEST(self, *arguments)


def sleeps(self: Any, *arguments: Any) -> Tensor:
    time.sleep(1.0)
    return HONEST(self, *arguments)


def raises(self: Any, *arguments: Any) -> Tensor:
    raise KeyError("layer 3")


DEFECTS: list[tuple[Margins, str, str]] = [
    (too_high, "sound", "attains"),
    (too_high, "verdicts", "margin"),
    (ignores_the_radius, "sound", "attains"),
    (rounds_to_float32, "sound", "attains"),
    (loose_at_zero, "zero", "at radius 0"),
    (rises_with_the_radius, "monotone", "rises"),
    (favours_the_last_class, "order", "reverse order"),
    (mixes_the_batch, "batch", "alone"),
    (wrong_shape, "shape", "shape"),
    (zero_at_the_label, "shape", "not inf"),
    (nan_somewhere, "shape", "NaN"),
    (answers_any_norm, "norms", "raise Unsupported"),
    (skips_unknown_layers, "unknown layers", "raise Unsupported"),
    (prints, "silence", "iteration 1"),
    (writes_like_a_solver, "silence", "Set parameter"),
    (changes_x, "hands off", "alters x in place"),
    (changes_the_network, "hands off", "alters the network"),
    (draws_globally, "repeats", "another answer"),
    (draws_globally, "global state", "torch's global generator"),
    (changes_the_dtype, "global state", "default dtype"),
    (sleeps, "deadline", "deadline.check()"),
    (raises, "sound", "raised KeyError: 'layer 3'"),
]


def test_the_honest_method_keeps_the_contract() -> None:
    report = check(PlantedBounds())
    assert report.ok, report.text()


@pytest.mark.parametrize(("margins", "name", "words"), DEFECTS, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_defect_is_caught(margins: Margins, name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlantedBounds, "margins", margins)
    monkeypatch.setattr(deadline, "LIMIT", 0.1)
    monkeypatch.setattr(deadline, "GRACE", 0.2)
    dtype, state = torch.get_default_dtype(), torch.get_rng_state()
    try:
        failures = failures_of(name, PlantedBounds())
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
    assert failures
    assert any(words in failure for failure in failures), failures


def test_a_false_claim_of_tightness_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlantedBounds, "info", replace(PlantedBounds.info, tighter_than=("crown",)))
    assert any("which info.tighter_than names, proves" in text for text in failures_of("rank", PlantedBounds()))


class PlantedDecision(CompleteVerifier):
    """Says the same of every problem."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="test_planted_defects",
        title="Planted",
        kind="verifier",
        family="interval",
        norms=("linf",),
        summary="Says the same of every problem.",
        paper="none",
        complete=True,
    )

    def __init__(self, verdict: str = "unknown") -> None:
        self.verdict = verdict

    def decide(self, problem: Problem, deadline: Deadline) -> Outcome:
        return Outcome(Verdict(self.verdict), witness=problem.x if self.verdict == "falsified" else None)


def test_wrong_decisions_are_caught() -> None:
    assert any("verified, but an input" in text for text in failures_of("verdicts", PlantedDecision("verified")))
    assert any("the exact least margin" in text for text in failures_of("complete", PlantedDecision("verified")))
    assert any("the exact least margin" in text for text in failures_of("complete", PlantedDecision("unknown")))
    # a false witness is dropped by the referee before it gets anywhere
    assert not failures_of("verdicts", PlantedDecision("falsified"))
    assert any("a sort inside" in text for text in failures_of("odd network", PlantedDecision("verified")))


class PlantedAttack(Attack):
    """Leaves the ball."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="test_planted_defects",
        title="Planted",
        kind="attack",
        family="attack",
        norms=("linf",),
        summary="Leaves the ball.",
        paper="none",
    )

    def __init__(self, steps: int) -> None:
        self.how_many = steps

    def search(self, problem: Problem, deadline: Deadline) -> Tensor:
        return (problem.x - 1.5 * problem.ball.radius).clamp(0, 1)


def test_an_attack_that_leaves_the_ball_is_caught() -> None:
    assert any("outside the ball" in text for text in failures_of("in ball", PlantedAttack(3)))


def test_unstored_and_required_parameters_are_caught() -> None:
    failures = failures_of("parameters", PlantedAttack(3))
    assert failures == ("the parameter steps has no default", "the parameter steps is not stored under its name")


def test_a_false_info_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    false = {"slug": "Other", "title": "", "kind": "verifier", "family": "guessing", "norms": ("linf", "l3")}
    monkeypatch.setattr(PlantedAttack, "info", replace(PlantedAttack.info, **false))
    found = " ".join(failures_of("info", PlantedAttack(3)))
    for words in ("title is empty", "'guessing' is none of", "'l3'", "is not of that kind", "must be the file's name"):
        assert words in found


class PlantedCertifier(Certifier):
    """The closed form of Cohen et al. with Hoeffding's bound, with a defect on request."""

    info: ClassVar[MethodInfo] = MethodInfo(
        slug="test_planted_defects",
        title="Planted",
        kind="certifier",
        family="randomized smoothing",
        norms=("l2",),
        summary="A certificate with a defect.",
        paper="none",
        deterministic=False,
    )

    def __init__(self, defect: str = "") -> None:
        self.defect = defect

    def radius(self, p: Any, q: Any, noise: Any) -> Any:
        if not hasattr(noise, "sigma") and self.defect != "any noise":
            raise Unsupported("Gaussian noise only")
        p = np.asarray(p, dtype=float)
        q = 1 - p if q is None else np.asarray(q, dtype=float)
        with np.errstate(invalid="ignore"):
            radius = getattr(noise, "sigma", 1.0) / 2 * (ndtri(p) - ndtri(q))
        if self.defect == "too far":
            radius = radius * 1.2
        if self.defect == "falls":
            radius = np.where(p > 0.9, radius / 2, radius)
        if self.defect == "one number":
            radius = np.min(radius)
        return radius if self.defect == "negative" else np.nan_to_num(np.maximum(radius, 0), posinf=np.inf)

    def certify(self, selection_counts: Any, counts: Any, noise: Any, alpha: float) -> Certificate:
        chosen = int((counts if self.defect == "reuses samples" else selection_counts).argmax())
        n = counts.sum()
        slack = np.sqrt(np.log(1 / alpha) / (2 * n)) if self.defect != "no bound" else 0.0
        p = max(0.0, float(counts[chosen] / n - slack))
        if p <= 0.5 and self.defect != "never abstains":
            return Certificate(ABSTAIN, 0.0, p, 1 - p)
        return Certificate(chosen, float(self.radius(p, None, noise)), p, 1 - p)


def test_the_honest_certifier_keeps_the_contract() -> None:
    report = check(PlantedCertifier())
    assert report.ok, report.text()


@pytest.mark.parametrize(
    ("defect", "name", "words"),
    [
        ("any noise", "noise", "raise Unsupported"),
        ("too far", "half-space", "refuted by a half-space"),
        ("falls", "growth", "falls somewhere as p grows"),
        ("one number", "broadcast", "not (2, 3)"),
        ("negative", "radius", "negative"),
        ("reuses samples", "counts", "only the selection sample may"),
        ("no bound", "confidence", "> alpha"),
        ("never abstains", "counts", "abstain"),
    ],
)
def test_a_planted_defect_of_a_certifier_is_caught(defect: str, name: str, words: str) -> None:
    failures = failures_of(name, PlantedCertifier(defect))
    assert any(words in failure for failure in failures), failures


def test_the_report_says_what_fails_and_how_to_see_it() -> None:
    report = check(PlantedCertifier("too far"))
    text = report.text()
    assert not report.ok
    assert [finding.check for finding in report.failed] == ["half-space"]
    assert "FAIL  half-space: no radius beats a half-space classifier" in text
    assert "breaks the contract: 1 of" in text
    assert "keeps the contract" in check(PlantedCertifier()).text()


def test_the_registry_entry_of_a_method_that_cannot_be_built() -> None:
    entry = Entry(PlantedBounds.info, "no_such_module", "Nothing", None)
    report = check(entry)
    assert not report.ok
    assert "cannot be imported" in report.text()
