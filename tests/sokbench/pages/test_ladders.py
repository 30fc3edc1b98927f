from __future__ import annotations

from typing import Any

from sokbench.measured.cells import gather
from sokbench.pages.boards import boards
from sokbench.pages.ladders import ladders
from sokbench.pages.measured_records import from_boards, from_certificates
from sokbench.published import Record
from tests.sokbench.made import row, rows


def record(certified: float, **fields: Any) -> Record:
    said: dict[str, Any] = {"dataset": "CIFAR-10", "norm": "linf", "eps": 8 / 255, "eps_text": "8/255"}
    said |= {"probabilistic": False, "title": f"Paper {certified}", "year": 2024}
    return Record(certified_accuracy=certified, **(said | fields))


def test_guarantees_are_ranked_apart():
    (ladder,) = ladders([record(30.0), record(40.0), record(60.0, probabilistic=True)], [])
    assert [place.rank for place in ladder.deterministic] == [1, 2]
    assert [(place.rank, place.record.certified_accuracy) for place in ladder.probabilistic] == [(1, 60.0)]
    assert ladder.text == "CIFAR-10, ℓ∞, 8/255"
    assert len({place.anchor for place in ladder.places}) == 3


def test_the_best_measured_method_of_a_model_joins_the_published_ones():
    measured = boards(gather([*rows("vvuu"), *rows("vvvu", method="ibp"), *rows("vvvv", method="pgd")]), set(), {})
    (ladder,) = ladders([record(30.0), record(90.0)], from_boards(measured))
    places = [(place.rank, place.record.origin, place.record.certified_accuracy) for place in ladder.deterministic]
    assert places == [(1, "published", 90.0), (2, "measured", 75.0), (3, "published", 30.0)]
    assert ladder.deterministic[1].measured is not None
    assert ladder.deterministic[1].record.verification == "ibp"


def test_a_method_that_answered_a_part_of_the_inputs_makes_no_record():
    measured = boards(gather([*rows("vuuu"), *rows("vv", method="ibp")]), set(), {})
    assert [one.record.verification for one in from_boards(measured)] == ["crown"]


def test_certificates_join_at_the_radii_that_publications_use_and_stay_probabilistic():
    radii = (0.1, 0.3, 0.6)
    certificates = [
        row(index=i, task="certify", norm="l2", method="neyman_pearson", prediction=3, certified_radius=radius)
        for i, radius in enumerate(radii)
    ]
    published = [
        record(60.0, norm="l2", eps=0.25, eps_text="0.25", probabilistic=True),
        record(1.0, norm="l2", eps=2.0),
    ]
    measured = from_certificates(gather(certificates), published)
    assert [(one.record.eps, one.record.certified_accuracy) for one in measured] == [(0.25, 66.67)]
    ladder = next(ladder for ladder in ladders(published, measured) if ladder.radius == 0.25)
    assert [place.record.origin for place in ladder.probabilistic] == ["measured", "published"]
    assert ladder.deterministic == ()


def test_places_of_equal_records_have_anchors_of_their_own():
    (ladder,) = ladders([record(30.0, method="A"), record(30.0, method="A")], [])
    assert [place.rank for place in ladder.places] == [1, 1]
    assert len({place.anchor for place in ladder.places}) == 2
