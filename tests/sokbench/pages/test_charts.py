from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from sokbench.core.registry import catalog
from sokbench.measured.cells import gather
from sokbench.pages.boards import boards
from sokbench.pages.charts import _band, cactus, family_marker, radius_curves, time_accuracy, tradeoff, trend
from sokbench.pages.radii import radius_boards
from sokbench.pages.relaxations import CASES, drawings
from sokbench.pages.svg import MARKERS, Scale, chart, decades, marker_path
from sokbench.rows import Row
from tests.sokbench.made import row, rows
from tests.sokbench.pages.synthetic import make_row
from tests.sokbench.pages.test_ladders import record


def test_scales_map_ends_to_ends_and_clamp_below_a_logarithm():
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert [Scale(0.1, 10, 0, 100, log=True)(value) for value in (0.1, 1, 10, 0)] == [0, 50, 100, 0]


def test_decades_enclose_the_values():
    assert decades(0.02, 3.0) == (0.01, 10.0)
    assert decades(1.0, 1.0) == (1.0, 100.0)


def test_markers_differ():
    assert len({marker_path(marker, 0, 0) for marker in MARKERS}) == len(MARKERS)


def test_labels_never_cover_each_other():
    drawn = chart((0, 1), (0, 1), "t")
    for _ in range(12):
        drawn.label(0.5, 0.5, "a label")
    boxes = drawn.boxes
    for place, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[place + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_every_family_that_verifies_has_a_marker_of_its_own():
    families = {entry.info.family for entry in catalog().values() if entry.info.kind == "verifier"}
    assert len({family_marker(family) for family in families}) == len(families)


def test_a_chart_is_well_formed_whatever_the_names_are():
    evil = '"><script>alert(1)</script>&'
    (board,) = boards(gather([*rows("vvu", model=evil), *rows("vuu", method="ibp", model=evil)]), set(), {})
    drawn = ET.fromstring(time_accuracy(board, board.models[0], {id(entry): "#" + evil for entry in board.entries}))
    marks = drawn.findall(".//a")
    assert len(marks) == 2
    assert not drawn.findall(".//script")
    assert all(mark.get("href") == "#" + evil for mark in marks)


def test_nothing_to_draw_is_no_chart():
    (board,) = boards(gather(rows("nn")), set(), {})
    assert time_accuracy(board, board.models[0], {}) == ""
    assert trend([record(30.0)], "t", {}) == ""


def test_the_trend_has_a_line_for_each_guarantee():
    records = [record(30.0, year=2020), record(40.0, year=2022), record(35.0, year=2023)]
    records += [record(50.0, year=2021, probabilistic=True), record(60.0, year=2024, probabilistic=True)]
    drawn = ET.fromstring(trend(records, "t", {}))
    assert [path.get("class") for path in drawn.findall("path")] == ["front", "front probabilistic"]
    assert len(drawn.findall(".//g[@data-item]")) == 5


@pytest.mark.parametrize("value", [0.0, 30.0, 100.0])
def test_a_trend_of_equal_values_has_a_range(value: float):
    drawn = ET.fromstring(trend([record(value, year=2020), record(value, year=2022)], "t", {}))
    assert len(drawn.findall(".//g[@data-item]")) == 2


def test_radius_boards_rank_by_average_radius_and_count_all_inputs():
    strong = [row(index=i, task="radius", certified_radius=r) for i, r in enumerate((0.2, 0.4, 0.0, 0.6))]
    weak = [row(index=i, task="radius", certified_radius=0.1, method="ibp") for i in range(4)]
    (board,) = radius_boards(gather([*weak, *strong]))
    assert [curve.cell.contender.method for curve in board.curves] == ["crown", "ibp"]
    assert board.curves[0].average.over_all == pytest.approx(0.3)
    assert not board.probabilistic
    shares = dict(zip(board.radii, board.curves[0].shares, strict=True))
    assert shares[0.2].k == 3
    ET.fromstring(radius_curves(board))


def test_certificates_and_radii_are_never_on_one_board():
    certificate = row(task="certify", norm="l2", prediction=3, certified_radius=1.0, method="neyman_pearson")
    found = radius_boards(gather([certificate, row(task="radius", norm="l2", certified_radius=0.5)]))
    assert sorted(board.probabilistic for board in found) == [False, True]


def test_relaxations_are_drawn_by_the_methods_themselves():
    known = catalog()
    captions = [drawing.caption for drawing in drawings(known["crown"])]
    assert captions[0] == "l = -1, u = 2: z ≤ ReLU(z) ≤ 0.67 z + 0.67"
    assert len(captions) == len(CASES)
    assert drawings(known["ibp"])[1].caption.endswith("0 ≤ ReLU(z) ≤ 1.5")
    assert drawings(known["milp"]) == []
    for drawing in drawings(known["fastlin"]):
        ET.fromstring(drawing.chart)


def test_the_cactus_counts_what_is_decided_on_all_models():
    found = [*rows("vfu", seconds=2.0), *rows("vu", model="other", seconds=3.0), *rows("vvv", method="pgd")]
    (board,) = boards(gather(found), set(), {})
    drawn = ET.fromstring(cactus(board))
    (mark,) = drawn.findall("g")
    assert mark.get("data-tip") == "crown: decides 3, the slowest in 3.00 s"


def test_long_curves_stay_small():
    (board,) = boards(gather(rows("v" * 5000)), set(), {})
    assert len(cactus(board)) < 10_000


def test_bands_hold_their_curves_and_the_tradeoff_has_a_mark_per_noise() -> None:
    rows = [
        make_row(
            index,
            1,
            "mnist5k/cnn_a/gaussian025",
            "neyman_pearson",
            0.0,
            task="certify",
            norm="l2",
            noise={"kind": "gaussian", "sigma": sigma},
            alpha=0.001,
            prediction=1,
            certified_radius=sigma * index / 10,
            key=f"{sigma}-{index}",
        )
        for sigma in (0.25, 0.5)
        for index in range(20)
    ]
    (board,) = radius_boards(gather(rows))
    drawn = str(radius_curves(board))
    assert drawn.count('class="band') == drawn.count('class="curve') == 2
    percents = [95.0, 90.0, 50.0, 0.0]
    band = _band([(float(k), percent) for k, percent in enumerate(percents)], 20)
    upper, lower = band[: len(band) // 2], band[len(band) // 2 :][::-1]
    for k, percent in enumerate(percents):
        assert lower[2 * k][1] <= percent <= upper[2 * k][1]
    picture = str(tradeoff(board))
    assert picture.count('class="mark"') == 2
    assert 'aria-label="neyman_pearson' in picture
    assert str(tradeoff(replace(board, curves=board.curves[:1]))) == ""


def test_the_best_curves_answered_all_inputs_with_all_samples() -> None:
    def certificates(method: str, radius: float, inputs: int, **parameters: object) -> list[Row]:
        return [
            make_row(
                index, 1, "m/a/g", method, 0.0, task="certify", norm="l2", noise={"kind": "gaussian", "sigma": 0.25},
                alpha=0.001, prediction=1, certified_radius=radius, parameters=parameters, key=f"{method}-{index}",
            )
            for index in range(inputs)
        ]  # fmt: skip

    rows = certificates("renyi", 0.9, 10, stopped=True) + certificates("pixel_dp", 0.8, 5)
    rows += certificates("lipschitz", 0.5, 10) + certificates("neyman_pearson", 0.6, 10)
    (board,) = radius_boards(gather(rows))
    assert [curve.cell.contender.method for curve in board.best] == ["neyman_pearson"]
    assert [curve.cell.contender.method for curve in board.drawn] == [
        "neyman_pearson", "renyi", "pixel_dp", "lipschitz",
    ]  # fmt: skip
    assert [board.place(curve) for curve in board.curves] == [1, 2, 0, 3]
