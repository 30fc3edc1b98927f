"""The site as files: complete, deterministic, escaped, and never written over something else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sokbench.core.errors import InvalidInput
from sokbench.pages import build
from sokbench.pages.images import Pictures, png
from sokbench.pages.render import safe_url
from sokbench.rows import pack
from tests.sokbench.pages import synthetic


def shard(site: Path, name: str) -> Any:
    text = (site / "data" / f"{name}.js").read_text()
    found = re.fullmatch(r"sok\.load\((\".*?\"),(.*)\);\n", text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == name
    return json.loads(found[2])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    model = "mnist5k/fcnn_a/adv"
    rows = list(synthetic.verify_rows(range(0, 1000, 100), models=(model,), radii=(0.1,), methods=("ibp", "milp")))
    return synthetic.write_results(results, [*rows, *synthetic.certify_rows(range(0, 1000, 250))])


@pytest.fixture(scope="module")
def site(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(made, tmp_path_factory.mktemp("site") / "public").parent


def content(site: Path) -> dict[str, bytes]:
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_the_same_results_give_the_same_bytes(made: Path, site: Path, tmp_path: Path):
    assert content(build(made, tmp_path / "again").parent) == content(site)


def test_an_earlier_site_is_replaced_and_nothing_else_is(made: Path, tmp_path: Path):
    out = tmp_path / "public"
    build(made, out)
    (out / "left-over.html").touch()
    build(made, out)
    assert not (out / "left-over.html").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").touch()
    with pytest.raises(InvalidInput, match="not pages of ours"):
        build(made, precious)
    assert (precious / "thesis.tex").exists()


def test_without_rows_there_are_the_published_pages(tmp_path: Path):
    site = build(tmp_path / "none", tmp_path / "public").parent
    assert "make benchmark" in (site / "index.html").read_text()
    assert (site / "leaderboard" / "cifar10-linf-8-255.html").is_file()
    assert shard(site, "index") == {"groups": [], "classes": {}}


def test_only_the_suites_asked_for_are_shown(made: Path, tmp_path: Path):
    site = build(made, tmp_path / "public", suites=[]).parent
    assert shard(site, "index")["groups"] == []


def test_shards_say_what_the_rows_say(site: Path):
    index = shard(site, "index")
    group = next(group for group in index["groups"] if group["model"] == "mnist5k/fcnn_a/adv")
    rows = shard(site, group["shard"])
    assert rows["inputs"] == list(range(0, 1000, 100))
    recorded = {
        row.index: row for row in synthetic.verify_rows(rows["inputs"], ("mnist5k/fcnn_a/adv",), (0.1,), ("ibp",))
    }
    cell = rows["cells"]["ibp@linf-0.1"]
    letters = {"verified": "v", "falsified": "f", "unknown": "u"}
    assert cell["status"] == "".join(letters[recorded[i].verdict] for i in rows["inputs"])
    details = shard(site, group["shard"] + ".0")
    assert details["0"]["ibp@linf-0.1"]["low"] == 0.0
    assert details["0"]["milp@linf-0.1"]["limit"] == 60.0
    assert shard(site, "images/" + group["images"] + ".0")["0"].startswith("data:image/png;base64,")


def test_no_page_runs_foreign_code(site: Path):
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert "default-src 'none'; script-src 'self'" in text
        assert synthetic.EVIL not in text
        assert not re.search(r"\s(?:on\w+|style)=", re.sub(r">[^<]*<", "><", text)), path
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path


@pytest.mark.parametrize(
    ("url", "kept"), [("https://example.org", True), ("javascript:alert(1)", False), (" https://x", False), ("", False)]
)
def test_only_addresses_of_the_web_become_links(url: str, kept: bool):
    assert bool(safe_url(url)) is kept


class OneImage:
    sha256 = "s"

    def __len__(self) -> int:
        return 1

    def image(self, index: int) -> np.ndarray[Any, Any]:
        return np.full((1, 2, 2), 0.5, np.float32)


def a_row(witness: np.ndarray[Any, Any], sha256: str = "s", index: int = 0) -> Any:
    return synthetic.make_row(
        index, 0, "m", "pgd", 0.1, dataset="d", data_sha256=sha256, verdict="falsified", witness=pack(witness)
    )


def test_a_witness_is_kept_as_its_difference():
    found = Pictures({"d": OneImage()}).witness(a_row(np.array([[[0.6, 0.5], [0.5, 0.4]]], np.float32)))
    assert found is not None
    assert found["linf"] == pytest.approx(0.1)
    assert found["l2"] == pytest.approx(0.1 * 2**0.5)
    assert (found["moved"], found["shape"]) == (2, [1, 2, 2])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: a_row(np.zeros((1, 2, 2), np.float32), sha256="other"), None),
        (lambda: a_row(np.zeros((1, 2, 2), np.float32), index=5), None),
        (lambda: a_row(np.zeros((3, 9), np.float32)), "broken"),
        (lambda: a_row(np.full((1, 2, 2), np.nan, np.float32)), "broken"),
    ],
)
def test_a_witness_that_does_not_fit_is_not_drawn(change: Callable[[], Any], expected: str | None):
    found = Pictures({"d": OneImage()}).witness(change())
    assert (found is None) if expected is None else (found is not None and "broken" in found)


def test_pictures_are_exact(tmp_path: Path):
    import base64
    import io

    from PIL import Image

    image = np.arange(12, dtype=np.float32).reshape(3, 2, 2) * 20 / 255
    shown = Image.open(io.BytesIO(base64.b64decode(png(image).partition(",")[2])))
    assert (np.asarray(shown) == (np.arange(12).reshape(3, 2, 2) * 20).transpose(1, 2, 0)).all()
