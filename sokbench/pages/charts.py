"""The charts of the pages: time against certified accuracy, records over the years, certified share over radius."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from .. import leaderboard, scores
from ..core.method import FAMILIES
from ..measured.cells import Contender, family_of
from ..measured.names import percent_text, seconds_text
from ..published import Record
from ..scores import certified
from .boards import Board, Entry, ModelFacts
from .paths import inputs_path
from .radii import CURVES, RadiusBoard
from .svg import MARKERS, Chart, chart, decades, facet_attributes, marker_path

PERCENT_TICKS = [(0.0, "0"), (25.0, "25"), (50.0, "50"), (75.0, "75"), (100.0, "100")]
_VERIFIER_FAMILIES = [family for family in FAMILIES if family not in ("baseline", "attack")]


def family_marker(family: str) -> tuple[str, str]:
    """(marker, style class) of a family; shape and colour both tell families apart."""
    if family not in _VERIFIER_FAMILIES:
        return "circle", "fam-x"
    place = _VERIFIER_FAMILIES.index(family)
    return MARKERS[place % len(MARKERS)], f"fam-{place}"


def curve_marker(place: int) -> tuple[str, str]:
    """(marker, style class) of the curve at a place in a radius board."""
    return MARKERS[place], f"fam-{place + 1}"


def curve_icon(place: int) -> Markup:
    """The marker of a curve for the table below it; empty for what is not drawn."""
    return _icon(*curve_marker(place)) if place < CURVES else Markup("")


def marker_icon(family: str) -> Markup:
    """The marker of a family as a small picture for legends."""
    return _icon(*family_marker(family))


def _icon(marker: str, css: str) -> Markup:
    path = Markup('<path class="{}" d="{}"/>').format(css, marker_path(marker, 7, 7))
    return Markup('<svg class="icon" viewBox="0 0 14 14" aria-hidden="true">{}</svg>').format(path)


def time_accuracy(board: Board, facts: ModelFacts, links: dict[int, str]) -> Markup:
    """Certified accuracy against seconds per input of every ranked method on one model, with the Pareto front."""
    entries = [entry for entry in board.of_model(facts.model) if entry.rank is not None and entry.cell.seconds]
    if not entries:
        return Markup("")
    low, high = decades(min(map(_seconds, entries)), max(map(_seconds, entries)))
    drawn = chart((low, high), (0, 100), f"Certified accuracy against time on {facts.model}", log="x")
    drawn.axes(time_ticks(low, high), PERCENT_TICKS, "time per input", "certified, %")
    if facts.attacked is not None:
        _ceiling(drawn, low, high, 100 * facts.attacked.value, "attack bound")
    front = pareto(entries)
    steps = [(entry.cell.seconds or 0.0, 100 * entry.certified.value) for entry in front]
    if steps:
        drawn.line([*steps, (high, steps[-1][1])], "front", step=True)
    for entry in sorted(entries, key=lambda e: e in front):
        share, at, marker = entry.certified, _seconds(entry), family_marker(entry.family)
        drawn.interval(at, 100 * share.low, 100 * share.high, "ci", _facets(entry))
        drawn.mark(at, 100 * share.value, *marker, _tip(entry), links[id(entry)], _facets(entry))
    for entry in front:
        drawn.label(_seconds(entry), 100 * entry.certified.value, entry.cell.contender.method, facets=_facets(entry))
    return drawn.render()


def cactus(board: Board) -> Markup:
    """How many inputs, of all models together, each contender decides if every input gets so many seconds."""
    lines: dict[Contender, list[float]] = defaultdict(list)
    for entry in board.contenders:
        if entry.rank is not None:
            lines[entry.cell.contender] += scores.cactus(entry.cell.rows)
    return cactus_of(lines, f"Inputs decided within a time: {board.setting.text}", "time per input")


def cactus_of(lines: Mapping[Contender, Sequence[float]], title: str, x_name: str) -> Markup:
    """A curve per contender from the seconds of what it decided; empty if nothing was."""
    solved = {contender: sorted(times) for contender, times in lines.items() if times}
    if not solved:
        return Markup("")
    low, high = decades(max(1e-4, min(times[0] for times in solved.values())), max(t[-1] for t in solved.values()))
    most = max(map(len, solved.values()))
    drawn = chart((low, high), (0, most), title, width=760, height=340, log="x")
    drawn.axes(time_ticks(low, high), _count_ticks(most), x_name, "decided")
    for contender, times in sorted(solved.items(), key=lambda item: -len(item[1])):
        family = family_of(contender.method)
        facets = facet_attributes(family=family, method=contender.method)
        marker, css = family_marker(family)
        points = _thinned([(t, n) for n, t in enumerate(times, start=1)])
        drawn.line(points, f"curve stroke-{css}", True, facets)
        tip = f"{contender.label}: decides {len(times)}, the slowest in {seconds_text(times[-1])}"
        drawn.mark(times[-1], len(times), marker, css, tip, "", facets)
        drawn.label(times[-1], len(times), contender.label, facets=facets)
    return drawn.render()


def _thinned(points: Sequence[tuple[float, float]], most: int = 200) -> list[tuple[float, float]]:
    """At most about `most` of the points, evenly, ends included: more cannot be seen."""
    step = -(-len(points) // most)
    return [*points[:-1:step], *points[-1:]]


def _count_ticks(most: int) -> list[tuple[float, str]]:
    step = next(m * 10**p for p in range(9) for m in (1, 2, 5) if most <= 6 * m * 10**p)
    return [(float(count), str(count)) for count in range(0, most + 1, step)]


def _seconds(entry: Entry) -> float:
    """Where an entry stands on a logarithmic axis that starts at 0.1 ms."""
    return max(entry.cell.seconds or 0.0, 1e-4)


def _facets(entry: Entry) -> Markup:
    return facet_attributes(
        family=entry.family,
        training=entry.facts.training,
        architecture=entry.facts.architecture,
        method=entry.cell.contender.method,
    )


def _tip(entry: Entry) -> str:
    share = entry.certified
    interval = f"[{percent_text(share.low)}, {percent_text(share.high)}]"
    time = seconds_text(entry.cell.seconds)
    return f"{entry.cell.contender.label}: {percent_text(share.value)} % {interval} of {share.n}, {time} per input"


def radius_curves(board: RadiusBoard) -> Markup:
    """Certified share over the radius, one curve per cell for those that are drawn."""
    largest = max((row.certified_radius or 0.0 for curve in board.curves for row in curve.cell.rows), default=0.0)
    if largest <= 0:
        return Markup("")
    drawn = chart((0.0, largest), (0, 100), f"Certified accuracy over the radius: {board.text}", width=760, height=320)
    drawn.axes([(radius, f"{radius:g}") for radius in board.radii], PERCENT_TICKS, "radius", "certified, %")
    for place, curve in enumerate(board.drawn):
        found = sorted(row.certified_radius or 0.0 for row in curve.cell.rows if certified(row, 0.0))
        points, remaining, total = [(0.0, 100 * len(found) / len(curve.cell.rows))], len(found), len(curve.cell.rows)
        for radius in found:
            remaining -= 1
            points.append((radius, 100 * remaining / total))
        shown = _thinned(points)
        drawn.area(_band(shown, total), f"band fam-{place + 1}")
        drawn.line(shown, f"curve c{place}", step=True)
        middle = points[len(points) // 2]
        label = f"{curve.cell.contender.label} on {curve.cell.model}"
        tip = f"{label}: average radius {curve.average.over_all:.3g}"
        drawn.mark(*middle, *curve_marker(place), tip, "../" + inputs_path(curve.cell))
    return drawn.render()


def _band(points: Sequence[tuple[float, float]], total: int) -> list[tuple[float, float]]:
    """The Wilson 95% intervals along a falling step curve of percentages of `total`, as a polygon."""
    upper: list[tuple[float, float]] = []
    lower: list[tuple[float, float]] = []
    for place, (radius, percent) in enumerate(points):
        low, high = scores.wilson(round(percent * total / 100), total)
        end = points[place + 1][0] if place + 1 < len(points) else radius
        upper += [(radius, 100 * high), (end, 100 * high)]
        lower += [(radius, 100 * low), (end, 100 * low)]
    return [*upper, *reversed(lower)]


def tradeoff(board: RadiusBoard) -> Markup:
    """Average certified radius against the accuracy of the smoothed classifier, the best certifier of every model and
    noise: what noise gains in radius, and what it costs in accuracy."""
    curves = board.best[:CURVES]
    largest = max((curve.average.over_all for curve in curves), default=0.0)
    if largest <= 0 or len(curves) < 2:
        return Markup("")
    title = f"Average certified radius against accuracy: {board.text}"
    worst = 10 * math.floor(10 * min(curve.accuracy.low for curve in curves))
    drawn = chart((worst, 100), (0.0, 1.1 * largest), title)
    step = 10.0 ** math.floor(math.log10(largest))
    ticks = [k * step / 2 for k in range(1 + int(2.2 * largest / step))]
    percents = [(float(percent), str(percent)) for percent in range(worst, 101, 10)]
    drawn.axes(percents, [(tick, f"{tick:g}") for tick in ticks], "accuracy at radius 0, %", "average radius")
    for place, curve in enumerate(curves):
        share = curve.accuracy
        drawn.interval_across(100 * share.low, 100 * share.high, curve.average.over_all, "ci")
        tip = (
            f"{curve.cell.contender.label} on {curve.cell.model}: {percent_text(share.value)} % of {share.n}, average "
        )
        tip += f"radius {curve.average.over_all:.3g}"
        at = (100 * share.value, curve.average.over_all)
        drawn.mark(*at, *curve_marker(place), tip, "../" + inputs_path(curve.cell))
        drawn.label(*at, curve.cell.contender.noise or curve.cell.contender.method)
    return drawn.render()


def pareto(entries: Sequence[Entry]) -> list[Entry]:
    """Ranked entries that no faster one matches in certified accuracy, fastest first."""
    front: list[Entry] = []
    ranked = [entry for entry in entries if entry.rank is not None]
    for entry in sorted(ranked, key=lambda e: (e.cell.seconds or 0.0, -e.certified.value)):
        if entry.certified.k > 0 and (not front or entry.certified.value > front[-1].certified.value):
            front.append(entry)
    return front


def trend(records: Sequence[Record], title: str, anchors: dict[int, str]) -> Markup:
    """Certified accuracy of records over time, with the best so far of deterministic and probabilistic guarantees."""
    groups = [leaderboard.trend(r for r in records if r.probabilistic is kind) for kind in (False, True)]
    points = [point for group in groups for point in group]
    if len(points) < 2:
        return Markup("")
    first, last = int(min(point.year for point in points)), int(max(point.year for point in points)) + 1
    values = [point.record.certified_accuracy for point in points]
    low, high = _percent_range(min(values), max(values))
    drawn = chart((first, max(last, first + 1)), (low, high), title, width=760, height=320)
    step = 1 if last - first <= 12 else 2
    years = [(float(year), str(year)) for year in range(first, last + 1, step)]
    drawn.axes(years, _percent_ticks(low, high), "year", "certified, %")
    for group, css in zip(groups, ("front", "front probabilistic"), strict=True):
        best = [(point.year, point.record.certified_accuracy) for point in group if point.leads]
        if best:
            drawn.line([*best, (float(last), best[-1][1])], css, step=True)
    for point in points:
        record = point.record
        marker, css = record_marker(record)
        tip = f"{record.method or record.title}: {record.certified_accuracy:g} %, {record.venue or point.date}"
        place = (point.year, record.certified_accuracy)
        drawn.mark(*place, marker, css, tip, anchors.get(id(record), ""), record_facets(record))
    for point in sorted((point for point in points if point.leads), key=lambda point: -point.year):
        if point.record.method and len(point.record.method) <= 28:
            drawn.label(point.year, point.record.certified_accuracy, point.record.method)
    return drawn.render()


def record_marker(record: Record) -> tuple[str, str]:
    """Deterministic guarantees are circles, probabilistic ones diamonds; measured ones are filled by the accent."""
    css = "rec-measured" if record.origin == "measured" else "rec-published"
    if record.certainty != "high":
        css += " unconfirmed"
    return ("diamond" if record.probabilistic else "circle"), css


def record_facets(record: Record) -> Markup:
    return facet_attributes(
        guarantee="probabilistic" if record.probabilistic else "deterministic",
        origin=record.origin,
        certainty="confirmed" if record.certainty == "high" else "unconfirmed",
    )


def _ceiling(drawn: Chart, low: float, high: float, value: float, text: str) -> None:
    drawn.line([(low, value), (high, value)], "ceiling")
    drawn.label(low, min(value, 99.0), text, "label ceilingname")


def time_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten between two times, at most five of them."""
    names = {0.0001: "0.1 ms", 0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 100: "100 s"}
    ticks, value = [], low
    while value <= high * 1.001:
        ticks.append((value, names.get(float(f"{value:.1g}"), f"{value:.0e} s")))
        value *= 10
    return ticks if len(ticks) <= 5 else ticks[::2]


def _percent_range(low: float, high: float) -> tuple[float, float]:
    # a percent around equal values, which have no range of their own
    step = _percent_step(low, high)
    return max(0.0, step * (low // step) - step * (low == high)), min(100.0, step * (high // step + 1))


def _percent_ticks(low: float, high: float) -> list[tuple[float, str]]:
    step = _percent_step(low, high)
    count = round((high - low) / step)
    return [(low + k * step, f"{low + k * step:g}") for k in range(count + 1) if low + k * step <= high + 1e-9]


def _percent_step(low: float, high: float) -> float:
    span = max(high - low, 1e-9)
    return next((step for step in (0.5, 1.0, 2.0, 5.0, 10.0) if span / step <= 6), 20.0)
