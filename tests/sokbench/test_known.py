"""What was known before, as text and back."""

from __future__ import annotations

import pytest

from sokbench.known import Known, known


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", Known()),
        ("holds", Known("holds")),
        ("holds tools_agree", Known("holds", "tools_agree")),
        ("holds tools_agree 1.5", Known("holds", "tools_agree", 1.5)),
        ("violated - 2", Known("violated", "", 2.0)),
        ("unsolved none soon", Known("unsolved", "none")),
    ],
)
def test_known(text: str, meaning: Known):
    assert known(text) == meaning
    assert known(str(meaning)) == meaning


def test_only_a_counterexample_that_was_checked_again_is_certain():
    assert known("violated counterexample_rechecked 1.5").certain
    assert not known("violated tools_agree").certain
