"""What was known of an instance before it was asked here, as `Row.expected` holds it: "holds tools_agree 1.498"."""

from __future__ import annotations

from typing import Final, NamedTuple

RECHECKED: Final = "counterexample_rechecked"
"""The basis of a known answer that is certain: a counterexample that was evaluated again."""


class Known(NamedTuple):
    """answer: holds, violated, or a word that is neither (disputed, unsolved), "" if nothing is known; basis: what it
    rests on; seconds: of the fastest tool that is known to have given it, None if unknown."""

    answer: str = ""
    basis: str = ""
    seconds: float | None = None

    @property
    def certain(self) -> bool:
        return self.basis == RECHECKED

    def __str__(self) -> str:
        return " ".join([self.answer, self.basis or "-", *([] if self.seconds is None else [f"{self.seconds:.4g}"])])


def known(expected: str) -> Known:
    """From the text of a row; unreadable seconds count as unknown."""
    answer, basis, seconds, *_ = [*expected.split(" "), "", "", ""]
    try:
        return Known(answer, "" if basis == "-" else basis, float(seconds))
    except ValueError:
        return Known(answer, "" if basis == "-" else basis)
