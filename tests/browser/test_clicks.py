"""Everything a visitor can click, clicked, on pages opened from files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sokbench import data
from sokbench.rows import unpack
from tests.browser.conftest import EVIL_MODEL
from tests.sokbench.pages import synthetic

Open = Callable[..., Any]
TABLE = "tables/quick.mnist5k-linf-0_1.html"


def texts(page: Any, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def visible_rows(page: Any, table: str) -> int:
    return int(page.locator(f"#{table} tbody tr[data-item]:not(.off)").count())


def clipboard(page: Any) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def with_clipboard() -> dict[str, Any]:
    return {"permissions": ["clipboard-read", "clipboard-write"]}


def test_every_page_opens_from_a_file_without_a_complaint(open_page: Open, site: Path):
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    page = open_page("index.html")
    for path in pages:
        page.goto((site / path).as_uri())
        assert page.locator("h1").count() == 1, path
        assert "broken" not in page.title()
    assert len(pages) > 40


def test_every_link_leads_somewhere(site: Path):
    for path in site.rglob("*.html"):
        text = path.read_text()
        names = re.findall(r'\bid="([^"]+)"', text)
        ids = set(names)
        assert len(ids) == len(names), path
        for target in re.findall(r'(?:href|src)="([^"]+)"', text):
            if target.startswith(("http:", "https:", "data:")):
                continue
            name, _, fragment = target.replace("&amp;", "&").partition("#")
            file = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert file.is_file(), f"{path.name}: {target}"
            if fragment and not name:
                assert fragment in ids, f"{path.name}: {target}"


def test_sorting_is_in_the_address_and_back_undoes_it(open_page: Open):
    page = open_page("index.html")
    before = texts(page, "#ranking-table tbody th")
    page.get_by_role("columnheader", name="Time per input").get_by_role("button").click()
    assert "sort=ranking-table.time.desc" in page.url
    times = [float(cell.get_attribute("data-v")) for cell in page.locator("#ranking-table tbody td:nth-child(7)").all()]
    assert times == sorted(times, reverse=True)
    page.get_by_role("columnheader", name="Time per input").get_by_role("button").click()
    assert page.locator("#ranking-table th[aria-sort=ascending]").count() == 1
    page.go_back()
    page.go_back()
    assert texts(page, "#ranking-table tbody th") == before
    page.go_forward()
    page.reload()
    assert page.locator("#ranking-table th[aria-sort=descending]").count() == 1


def test_facets_filter_rows_charts_and_columns_together(open_page: Open):
    page = open_page("rankings/quick.mnist5k-linf-0_1.html")
    every = visible_rows(page, "ranking-table")
    page.get_by_role("checkbox", name="linear relaxation").check(force=True)
    assert page.url.endswith("?family=linear+relaxation")
    assert 0 < visible_rows(page, "ranking-table") < every
    assert page.locator(".charts svg .mark:not(.off)").count() == 36
    page.get_by_role("checkbox", name="cadv").check(force=True)
    assert page.locator("figure[data-item]:not(.off)").count() == 3
    assert "training=cadv" in page.url
    page.get_by_role("button", name="Clear filters").click()
    assert visible_rows(page, "ranking-table") == every
    page.go_back()
    assert page.get_by_role("checkbox", name="cadv").is_checked()
    page.goto(page.url.partition("?")[0] + "?training=adv&q=crown")
    assert set(texts(page, "#ranking-table tbody tr:not(.off) td:nth-child(2)")) == {
        "mnist5k/cnn_a/adv", "mnist5k/fcnn_a/adv", "mnist5k/fcnn_b/adv"
    }  # fmt: skip
    assert page.get_by_placeholder("Search").input_value() == "crown"


def test_columns_of_a_table_follow_the_facets(open_page: Open):
    page = open_page(TABLE + "?training=cadv&architecture=cnn_a")
    assert page.locator("#grid thead th:not(.off)").count() == 2
    assert page.locator("#grid tr#crown > :not(.off)").count() == 2
    page.get_by_placeholder("Search").press_sequentially("crown")
    assert visible_rows(page, "grid") == 2
    assert page.get_by_placeholder("Search").input_value() == "crown"
    assert page.locator("tbody[data-group]:not(.off)").count() == 1


def test_from_a_cell_to_its_inputs_to_one_input_and_back(open_page: Open):
    page = open_page(TABLE)
    page.locator("tr#milp td.cell a").nth(0).click()
    page.wait_for_selector("#inputs tbody tr")
    assert "milp on mnist5k/cnn_a/adv" in page.locator("h1").inner_text()
    assert page.locator("#inputs tbody tr").count() == 20
    page.get_by_role("button", name=re.compile("^falsified")).click()
    assert "status=falsified" in page.url
    assert set(texts(page, "#inputs tbody td:nth-child(3)")) == {"falsified"}
    page.get_by_role("columnheader", name="Time").get_by_role("button").click()
    assert "by=seconds.asc" in page.url
    page.locator("#inputs tbody a").first.click()
    page.wait_for_selector("#answers tbody tr")
    assert page.locator("#answers tbody tr").count() == 11
    assert page.locator(".pictures canvas").count() == 2
    assert page.locator(".pictures img").evaluate("image => image.naturalWidth") == 28
    page.go_back()
    page.wait_for_selector("#inputs tbody tr")
    assert set(texts(page, "#inputs tbody td:nth-child(3)")) == {"falsified"}
    page.go_back()
    page.go_back()
    assert page.locator("#inputs tbody tr").count() == 20


def input_address(index: int, model: str = "mnist5k/fcnn_a/adv", setting: str = "mnist5k, ℓ∞, 0.1") -> str:
    return f"input.html?suite=quick&dataset=mnist5k&model={model}&setting={setting}&input={index}"


def test_one_input_shows_evidence_run_and_the_command_that_repeats_it(open_page: Open):
    page = open_page(input_address(100), **with_clipboard())
    row = page.locator("#answers tr", has_text="crown").first
    row.get_by_text("Show").click()
    assert "crown on input 100" in row.locator("pre.log").inner_text()
    assert "Example CPU" in row.inner_text()
    row.get_by_role("button", name="Copy").click()
    page.wait_for_selector(".toast")
    assert clipboard(page) == (
        "sokbench verify mnist5k/fcnn_a/adv --data mnist5k --index 100 --method crown "
        "--norm linf --radius 0.1 --limit 60"
    )
    row.get_by_role("link", name=synthetic.RUN).click()
    assert page.locator("h1").inner_text().startswith("Run ")
    page.go_back()
    page.wait_for_selector("#answers")
    page.get_by_role("link", name="next input").click()
    page.wait_for_selector("#answers")
    assert page.locator("h1").inner_text() == "Input 150 of mnist5k"
    page.get_by_role("button", name="mnist5k, ℓ∞, 0.02").click()
    assert "0.02" in page.locator("#lead").inner_text()


def test_a_certificate_is_repeated_by_the_command_beside_it(open_page: Open):
    page = open_page(input_address(100, "mnist5k/cnn_a/gaussian050", "mnist5k, ℓ2"), **with_clipboard())
    row = page.locator("#answers tr", has_text="neyman_pearson").first
    assert "precision=bfloat16" in row.inner_text()
    row.get_by_text("Show").click()
    row.get_by_role("button", name="Copy").click()
    page.wait_for_selector(".toast")
    assert clipboard(page) == (
        "sokbench certify mnist5k/cnn_a/gaussian050 --data mnist5k --index 100 --certifier neyman_pearson "
        "--sigma 0.5 --n0 100 --n 1000 --precision bfloat16 --alpha 0.001 --limit 60"
    )


def test_the_witness_on_screen_is_the_recorded_one(open_page: Open):
    """The drawn counterexample, read back from the canvas, is the witness to within one grey level."""
    rows = synthetic.verify_rows(range(0, 1000, 50), models=("mnist5k/fcnn_a/clean",), radii=(0.1,), methods=())
    found = next(row for row in rows if row.method == "pgd" and row.witness and "clean_margin" not in row.stats)
    assert found.witness is not None
    expected = 255 * unpack(found.witness).astype(np.float64).ravel()
    page = open_page(input_address(found.index, "mnist5k/fcnn_a/clean") + "&witness=pgd@linf-0.1")
    page.wait_for_selector(".pictures canvas")
    shown = page.locator(".pictures canvas").first.evaluate(
        "c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"
    )
    assert np.abs(np.array(shown) - expected).max() <= 1.0
    assert np.abs(expected - 255 * data.load("mnist5k").test.image(found.index).ravel()).max() > 20


def test_compare_counts_differences_and_links_to_inputs(open_page: Open):
    page = open_page("compare.html?a=crown@linf-0.1&b=milp@linf-0.1")
    page.wait_for_selector("#summary")
    page.locator("select[name=where]").select_option(label="mnist5k/cnn_a/cadv · mnist5k · quick")
    page.wait_for_function("document.querySelector('#summary') && location.search.includes('cnn_a%2Fcadv')")
    rows = texts(page, "#summary tbody tr")
    assert rows[0].startswith("crown")
    assert rows[1].startswith("milp")
    assert re.search("sign test, p = |same inputs", page.locator("#view").inner_text())
    assert page.locator("svg.chart a.mark").count() > 5
    page.locator("select[name=b]").select_option(label="ibp")
    page.wait_for_function("document.querySelector('#summary tbody tr:nth-child(2) th').textContent === 'ibp'")
    assert "b=ibp%40linf-0.1" in page.url
    page.locator("#only-a tbody a").first.click()
    page.wait_for_selector("#answers")
    page.go_back()
    page.wait_for_selector("#summary")
    page.go_back()
    page.wait_for_function("document.querySelector('#summary tbody tr:nth-child(2) th').textContent === 'milp'")


def test_tables_are_copied_as_csv_latex_and_markdown(open_page: Open):
    page = open_page(TABLE + "?training=cadv", **with_clipboard())
    page.get_by_role("button", name="CSV", exact=True).click()
    page.wait_for_selector(".toast")
    table = list(csv.reader(io.StringIO(clipboard(page))))
    assert table[0][:4] == ["Method", "mnist5k/cnn_a/cadv", "mnist5k/cnn_a/cadv low", "mnist5k/cnn_a/cadv high"]
    assert len(table[0]) == 1 + 3 * 3
    crown = next(line for line in table if line[0] == "crown")
    assert float(crown[2]) < float(crown[1]) < float(crown[3])
    page.get_by_role("button", name="LaTeX").click()
    page.wait_for_timeout(100)
    latex = clipboard(page)
    assert "\\toprule" in latex
    assert "crown\\_ibp" in latex
    assert latex.count("{") == latex.count("}")
    page.get_by_role("button", name="Markdown").click()
    page.wait_for_timeout(100)
    assert clipboard(page).splitlines()[1].startswith("| --- | ---: |")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "table-mnist5k-linf-0_1.csv"
    assert Path(download.value.path()).read_text().startswith("Method,")


def test_the_theme_is_kept_from_page_to_page(open_page: Open, site: Path):
    page = open_page("index.html", color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to dark colours").click()
    dark = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    page.get_by_role("link", name="Methods", exact=True).click()
    page.wait_for_url("**/methods/index.html")
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(ground) == light


def test_a_contradicted_method_is_marked_and_not_ranked(open_page: Open):
    page = open_page("rankings/quick.mnist5k-linf-0_02.html")
    row = page.locator("#ranking-table tr", has_text="op_norm").first
    assert "conflict" in row.inner_text()
    assert row.locator("a.rank").inner_text() == "–"
    row.get_by_role("link", name="conflict").click()
    assert "linf 0.02" in page.locator("#conflicts").inner_text()
    page.locator("#conflicts td a").click()
    page.wait_for_selector("#answers")
    assert page.locator("h1").inner_text() == "Input 50 of mnist5k"


def test_deterministic_and_probabilistic_records_are_ranked_apart(open_page: Open):
    page = open_page("leaderboard/cifar10-l2-0_25.html")
    ranks = [texts(page, f"tbody:has(#{group}) a.rank") for group in ("deterministic", "probabilistic")]
    assert all(found[0] == "1" for found in ranks)
    page.get_by_role("checkbox", name="probabilistic").check(force=True)
    assert page.locator("tbody[data-group]:not(.off)").count() == 1
    assert page.locator("svg .mark:not(.off)").count() == len(ranks[1])
    page.locator("svg a.mark:not(.off)").first.click()
    assert page.locator("tr:target").count() == 1


def test_measured_records_lead_to_their_rows(open_page: Open):
    page = open_page("leaderboard/mnist5k-linf-0_1.html")
    row = page.locator("#records tbody tr[data-origin=measured]").first
    assert "measured" in row.inner_text()
    row.locator("td a").first.click()
    page.wait_for_selector("#inputs tbody tr")


def test_reasons_show_on_hover_and_on_focus(open_page: Open):
    page = open_page(TABLE)
    cell = page.locator("tr#sdp_verify [data-tip^=unsupported]").first
    cell.hover()
    assert "convolutions are not supported" in page.locator(".tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".tip").is_hidden()
    cell.focus()
    assert page.locator(".tip").is_visible()


def test_names_and_logs_with_markup_stay_text(open_page: Open):
    page = open_page(TABLE)
    page.locator("tr#ibp td.cell a").nth(-1).click()
    page.wait_for_selector("#inputs tbody tr")
    if EVIL_MODEL not in page.locator("h1").inner_text():
        models = page.evaluate("sok.shard('index').then(i => i.groups.map(g => g.model))")
        assert EVIL_MODEL in models
    page = open_page(input_address(100, "mnist5k/fcnn_a/cadv"))
    page.wait_for_selector("#answers")
    assert page.locator("#answers img, #answers script").count() == 0
    assert page.title() == "Input 100 · sokbench"
