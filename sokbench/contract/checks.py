"""The contract as a list of checks, and the run of all of them on one method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..core.certifier import Certifier
from ..core.errors import Unsupported
from ..core.method import Attack, BoundingVerifier, CompleteVerifier, Method
from ..core.registry import Entry
from . import bounds, certifiers, deadline, info, manners, verdicts
from .report import Finding, Report


@dataclass(frozen=True)
class Check:
    """One sentence that is true of every method of some kind, and the function that tries to refute it.

    run: takes a method of `kind`, returns failures in plain words
    """

    name: str
    claim: str
    kind: type[Any] | tuple[type[Any], ...]
    run: Callable[[Any], list[str]]


_ANY = (Method, Certifier)

CHECKS: Final = (
    Check("info", "says what it is, completely and consistently", _ANY, info.info_is_complete),
    Check("parameters", "is built without parameters and stores those it has", _ANY, info.parameters_have_defaults),
    Check("shape", "margins are (B, C) floats, +inf at the label", BoundingVerifier, bounds.margins_have_their_shape),
    Check("sound", "no margin exceeds what an attack attains", BoundingVerifier, bounds.margins_are_sound),
    Check("zero", "at radius 0 margins are those of the input", BoundingVerifier, bounds.zero_radius_is_exact),
    Check("monotone", "margins fall as the ball grows", BoundingVerifier, bounds.margins_fall_with_the_radius),
    Check("order", "the order of classes is no matter", BoundingVerifier, bounds.margins_follow_the_class_order),
    Check("batch", "a batch gives the bounds of its inputs", BoundingVerifier, bounds.batch_equals_single),
    Check("rank", "is as tight as it says beside others", BoundingVerifier, bounds.margins_keep_their_rank),
    Check(
        "norms",
        "margins refuses balls of other norms",
        BoundingVerifier,
        bounds.undeclared_norms_are_unsupported,
    ),
    Check(
        "unknown layers",
        "margins of strange networks are refused or sound",
        BoundingVerifier,
        bounds.unknown_layers_are_unsupported_or_sound,
    ),
    Check("verdicts", "verdicts, margins and witnesses stand up", Method, verdicts.verdicts_stand_up),
    Check(
        "zero radius",
        "radius 0 is decided",
        (BoundingVerifier, CompleteVerifier, Attack),
        verdicts.zero_radius_is_decided,
    ),
    Check(
        "wrong label",
        "an error falsifies itself",
        Method,
        verdicts.misclassified_inputs_falsify_themselves,
    ),
    Check("other norms", "verify calls other norms unsupported", Method, verdicts.other_norms_are_unsupported),
    Check(
        "odd network",
        "strange networks are refused or sound",
        Method,
        verdicts.odd_networks_are_unsupported_or_sound,
    ),
    Check("complete", "decides what exhaustion decides", CompleteVerifier, verdicts.complete_methods_decide),
    Check("in ball", "the attack stays in the ball", Attack, verdicts.attacks_stay_in_the_ball),
    Check("noise", "takes some noise and refuses what is none", Certifier, certifiers.some_noise_is_supported),
    Check("radius", "radii are never negative, and 0 where p <= q", Certifier, certifiers.radii_are_never_negative),
    Check("growth", "radii grow with p and fall with q", Certifier, certifiers.radii_grow_with_p_and_fall_with_q),
    Check("broadcast", "arrays broadcast", Certifier, certifiers.arrays_broadcast),
    Check("half-space", "no radius beats a half-space classifier", Certifier, certifiers.radii_never_beat_a_half_space),
    Check(
        "counts",
        "selection selects, estimation decides",
        Certifier,
        certifiers.counts_decide_as_they_should,
    ),
    Check("confidence", "p is wrong at most alpha of the time", Certifier, certifiers.confidence_is_kept),
    Check("repeats", "same question, same answer", _ANY, manners.answers_repeat),
    Check("hands off", "inputs and network stay as they were", _ANY, manners.inputs_stay_as_they_were),
    Check("silence", "prints nothing", _ANY, manners.nothing_is_printed),
    Check("global state", "generators, dtype, threads and gradient mode stay", _ANY, manners.global_state_stays),
    Check("deadline", "answers within its limit", Method, deadline.deadlines_are_kept),
)


def checks_for(subject: Method | Certifier) -> tuple[Check, ...]:
    """The checks that apply to a method, in order."""
    return tuple(item for item in CHECKS if isinstance(subject, item.kind))


def run_check(item: Check, subject: Method | Certifier) -> Finding:
    """One check, with an unexpected error counted as a failure and told in words."""
    try:
        failures = item.run(subject)
    except Exception as error:  # whatever a stranger's method raises is a finding, not a crash of the contract
        stated = "raised Unsupported where it may not" if isinstance(error, Unsupported) else "raised"
        failures = [f"{stated} {type(error).__name__}: {error}"]
    return Finding(item.name, item.claim, tuple(failures[:5]))


def check(subject: Entry | Method | Certifier) -> Report:
    """Run the whole contract on a method, or on the method of a registry entry built without parameters."""
    if isinstance(subject, Entry):
        slug = subject.info.slug
        try:
            built = subject.load()()
        except Exception as error:  # the same: a method that cannot be built is what the report is for
            reason = f"cannot be imported and built without parameters: {type(error).__name__}: {error}"
            return Report(slug, (Finding("build", "is imported and built without parameters", (reason,)),))
        return check(built)
    return Report(subject.info.slug, tuple(run_check(item, subject) for item in checks_for(subject)))
