"""Charts of property rows: decided within a time, and two contenders' times against each other."""

from __future__ import annotations

from markupsafe import Markup

from .. import scores
from ..measured.cells import Contender
from ..measured.names import seconds_text
from .charts import cactus_of, time_ticks
from .property_boards import VIRTUAL_BEST, PropertyBoard, Question
from .svg import chart, decades

_LEAST = 1e-3
_MARKS = {"verified": ("circle", "fam-1", "holds"), "falsified": ("cross", "fam-3", "violated")}


def decided(board: PropertyBoard) -> Markup:
    """How many instances each contender decides if each may take so many seconds, and all of them together."""
    lines = {entrant.contender: scores.cactus(entrant.rows) for entrant in board.entrants}
    if len(board.entrants) > 1:
        lines[VIRTUAL_BEST] = [question.best for question in board.questions if question.best is not None]
    return cactus_of(lines, f"Instances decided within a time: {board.suite}", "time per instance")


def against(board: PropertyBoard, a: Contender, b: Contender, root: str) -> Markup:
    """Seconds of `a` (across) and `b` (up) on what one of them decides; what the other does not lies on the edge."""
    both = [q for q in board.questions if a in q.answers and b in q.answers]
    shown = [q for q in both if scores.solved(q.answers[a]) or scores.solved(q.answers[b])]
    if not shown:
        return Markup("")
    times = [max(q.answers[c].seconds, _LEAST) for q in shown for c in (a, b) if scores.solved(q.answers[c])]
    low, high = decades(min(times), max(*times, *(q.limit for q in shown)))
    drawn = chart((low, high), (low, high), f"Seconds of {b.label} against {a.label}", width=340, height=330, log="xy")
    drawn.axes(time_ticks(low, high), time_ticks(low, high), a.label, "")
    drawn.line([(low, low), (high, high)], "ceiling")
    for question in shown:
        marker, css, word = _MARKS[_verdict(question, a, b)]
        places = [_place(question, contender, high) for contender in (a, b)]
        said = " and ".join(f"{c.label} {_said(question, c)}" for c in (a, b))
        tip = f"{question.category}, {question.title} ({word}): {said}"
        drawn.mark(places[0], places[1], marker, css, tip, root + question.path)
    return drawn.render()


def _verdict(question: Question, a: Contender, b: Contender) -> str:
    return next(question.answers[c].verdict for c in (a, b) if scores.solved(question.answers[c]))


def _place(question: Question, contender: Contender, high: float) -> float:
    row = question.answers[contender]
    return max(row.seconds, _LEAST) if scores.solved(row) else high


def _said(question: Question, contender: Contender) -> str:
    row = question.answers[contender]
    return f"in {seconds_text(row.seconds)}" if scores.solved(row) else "not at all"
