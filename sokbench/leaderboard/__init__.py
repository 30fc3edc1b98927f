"""The leaderboard: records as data files, checked, ranked, and drawn over time.

`results/published/leaderboard/` has one file per setting (data set, norm, radius). `load()` gives all records,
`boards()` the ranked tables, `trend(records)` the points of the plot, `check()` what is wrong, `add(record)` a new one.
"""

from __future__ import annotations

from .checks import AttackResult, check, known_attacks, problems
from .files import FOLDER, Setting, add, load, setting_of
from .ranking import Board, Ranked, TrendPoint, boards, rank, trend

__all__ = [
    "FOLDER",
    "AttackResult",
    "Board",
    "Ranked",
    "Setting",
    "TrendPoint",
    "add",
    "boards",
    "check",
    "known_attacks",
    "load",
    "problems",
    "rank",
    "setting_of",
    "trend",
]
