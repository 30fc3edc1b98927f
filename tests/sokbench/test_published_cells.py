from __future__ import annotations

import csv

import pytest

from sokbench.published_cells import PUBLISHED, architecture_order, published_value

SETTING = ("cifar10", "cnn_a", "adv8", "linf", 8 / 255)


def test_a_number_of_the_same_setting() -> None:
    found = published_value(*SETTING, "crown")
    assert found is not None
    assert found.text == "8"
    assert "det_cifar10_eps8-255_certified_accuracy" in found.source
    assert published_value("mnist", "fcnn_a", "clean", "linf", 0.02, "milp", "verify_time").text == "0.37"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change",
    [
        {0: "mnist5k"},
        {0: "mnist"},
        {1: "cnn_e"},
        {2: "adv"},
        {2: "adv2"},
        {3: "l2"},
        {4: 2 / 255},
        {4: 0.03},
    ],
)
def test_nothing_for_another_setting(change: dict[int, object]) -> None:
    setting = [change.get(i, part) for i, part in enumerate(SETTING)]
    assert published_value(*setting, "crown") is None  # type: ignore[arg-type]


def test_nothing_for_a_method_the_site_does_not_have() -> None:
    assert published_value(*SETTING, "alpha_crown") is None


def test_all_of_table_3_is_found() -> None:
    slugs = {"boundedmilp": "milp", "lpfull": "lp_full", "fastlin": "fastlin", "cnncert": "cnn_cert"}
    slugs |= {"crownibp": "crown_ibp", "refinezono": "refine_zono", "krelu": "k_relu", "sdpverify": "sdp_verify"}
    slugs |= {"lmiverify": "lmi_verify", "opnorm": "op_norm", "pgdattack": "pgd"}
    with (PUBLISHED / "paper_tables" / "sok2022_table3.csv").open(newline="") as stream:
        for cell in csv.DictReader(stream):
            plain = cell["method"].lower().replace("-", "").replace(" ", "")
            found = published_value(
                "cifar10", cell["model"], cell["training"] + "8", "linf", 8 / 255, slugs.get(plain, plain)
            )
            assert found is not None
            assert float(found.text) == float(cell["value"])


def test_the_order_of_architectures() -> None:
    assert architecture_order() == ["fcnna", "fcnnb", "fcnnc", "cnna", "cnnb", "cnnc", "cnnd"]
