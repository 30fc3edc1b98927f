from __future__ import annotations

import msgspec
import pytest

from sokbench.runner.progress import TimeLeft
from sokbench.runner.recording import Reply, Stamp, row_of
from sokbench.suites.series import Batch

from .test_plan import SERIES

SLOW = msgspec.structs.replace(SERIES, method="lp_full")


def finished(series, seconds: float, prepare: float = 0.0):
    return row_of(series, 0, 0, "k", Stamp("r", "s", False), Reply("ok", seconds=seconds, prepare_seconds=prepare))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_rest_is_estimated_per_method_and_model(workers: int):
    left = TimeLeft(workers)
    left.expect([Batch(SERIES, (0, 1, 2), (0, 0, 0)), Batch(SLOW, (0, 1), (0, 0))])
    assert left.seconds() == 0.0, "nothing is known yet"
    left.finished(finished(SERIES, 1.0, prepare=5.0))
    assert left.seconds() * workers == pytest.approx(2 * 1.0 + 2 * 1.0 + 5.0, abs=0.1)
    left.finished(finished(SLOW, 10.0, prepare=5.0))
    assert left.seconds() * workers == pytest.approx(2 * 1.0 + 10.0, abs=0.1)
    for row in (finished(SERIES, 1.0), finished(SERIES, 1.0), finished(SLOW, 9.0)):
        left.finished(row)
    assert left.seconds() == 0.0


def test_another_model_of_the_same_method_is_the_best_guess():
    left = TimeLeft(1)
    other = msgspec.structs.replace(SLOW, model="another")
    left.expect([Batch(SERIES, (0,), (0,)), Batch(SLOW, (0,), (0,)), Batch(other, (0,), (0,))])
    left.finished(finished(SERIES, 1.0))
    left.finished(finished(SLOW, 10.0))
    assert left.seconds() == pytest.approx(10.0, abs=0.1)
