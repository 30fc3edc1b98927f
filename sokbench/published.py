"""Published numbers: typed records with their source, never mixed with measured rows.

Two kinds: leaderboard `Record`s (one entry of a ranking) and `Cell`s (one number of a paper's table).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Certainty = Literal["high", "medium", "low"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One leaderboard entry. Rank is computed, never stored.

    eps: radius in the units of inputs in [0, 1] (8/255 as 0.031372549); eps_text: as printed ("8/255")
    certified_accuracy, clean_accuracy: percent of all test inputs considered
    probabilistic: the guarantee holds with a stated confidence (randomized smoothing)
    origin: "published" (from a paper or site) or "measured" (by sokbench, with `run` naming the recorded run)
    certainty: how sure we are of the number; anything but "high" is shown as unconfirmed
    source: file, table or page the number was taken from
    """

    dataset: str
    norm: Literal["linf", "l2", "l1", "l0"]
    eps: float
    eps_text: str
    certified_accuracy: float
    clean_accuracy: float | None = None
    probabilistic: bool
    title: str
    method: str = ""
    training: str = ""
    verification: str = ""
    model: str = ""
    venue: str = ""
    year: int | None = None
    date: str = ""
    url: str = ""
    notes: str = ""
    origin: Literal["published", "measured"] = "published"
    certainty: Certainty = "high"
    source: str = ""
    run: str = ""
    attack_accuracy: float | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One printed number of a paper's table, as in results/published/paper_tables."""

    source: str
    table: str
    dataset: str
    model: str
    training: str
    norm: str
    eps: str
    method: str
    metric: str
    value: str
    unit: str
    note: str = ""
