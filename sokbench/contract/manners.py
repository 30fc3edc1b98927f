"""Checks of what a method leaves behind: nothing but its answer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .exercise import Subject, exercise
from .output import output_of


def answers_repeat(subject: Subject) -> list[str]:
    """Same question, same answer, whatever the global generators were fed in between."""
    first = exercise(subject)
    with _restored_generators():
        torch.manual_seed(12345)
        np.random.seed(12345)
        random.seed(12345)
        second = exercise(subject)
    return [f"{name}: another answer the second time" for name in first if second.get(name, first[name]) != first[name]]


def inputs_stay_as_they_were(subject: Subject) -> list[str]:
    changed: list[str] = []
    exercise(subject, changed)
    return sorted(set(changed))


def nothing_is_printed(subject: Subject) -> list[str]:
    text = output_of(lambda: exercise(subject)).strip()
    return [f"prints, beginning with {text.splitlines()[0][:120]!r}"] if text else []


def global_state_stays(subject: Subject) -> list[str]:
    with _restored_generators():
        before = _global_state()
        exercise(subject)
        after = _global_state()
    return [f"changes {name}" for name in before if before[name] != after[name]]


def _global_state() -> dict[str, Any]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "torch's matmul precision": torch.get_float32_matmul_precision(),
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": repr(np.random.get_state()),
        "Python's global generator": random.getstate(),
        "numpy's error handling": np.geterr(),
        "the working directory": os.getcwd(),
    }


@contextmanager
def _restored_generators() -> Iterator[None]:
    """Puts the global generators back where they were, so that the contract keeps its own rule."""
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
