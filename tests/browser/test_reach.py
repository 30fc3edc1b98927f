"""For everyone: WCAG AA by axe-core, phones, keyboards, readers without scripts, paper."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
VENDOR = Path(__file__).parent / "vendor"
AXE = VENDOR / "axe.min.js"
AXE_SHA512 = (
    "63a56f6b4213f20c4acaa8198e511f1bbe94e3c7976a4499f14a98eaf31031eeb"
    "1112d92a3c5ae22d1987078b7b47d4e02530a8d35a349e37fe71d9acac39721"
)
LAYOUT_SHIFT = """new Promise(done => {
    let sum = 0;
    new PerformanceObserver(list => list.getEntries().forEach(entry => { sum += entry.value; }))
        .observe({type: 'layout-shift', buffered: true});
    setTimeout(() => done(sum), 300);
})"""
WHERE = "suite=quick&dataset=mnist5k&model=mnist5k/cnn_a/adv"
PAGES = [
    "index.html",
    "rankings/quick.mnist5k-linf-0_1.html",
    "tables/index.html",
    "tables/quick.mnist5k-linf-0_1.html",
    "tables/sok2022_table3.html",
    "leaderboard/index.html",
    "leaderboard/cifar10-linf-8-255.html",
    "methods/index.html",
    "methods/crown.html",
    "radii/quick.mnist5k-l2-certify.html",
    "properties/index.html",
    "properties/vnn.html",
    "properties/vnn.acasxu.3.html",
    "runs/index.html",
    "conflicts.html",
    "contribute.html",
    f"inputs.html?{WHERE}&cell=milp@linf-0.1",
    f"input.html?{WHERE}&setting=mnist5k, ℓ∞, 0.1&input=100",
    "compare.html?a=crown@linf-0.1&b=milp@linf-0.1",
]


def settled(page: Any) -> Any:
    page.wait_for_function("!document.querySelector('#view') || document.querySelector('#view table')")
    return page


def test_the_vendored_axe_is_the_released_one():
    assert hashlib.sha512(AXE.read_bytes()).hexdigest() == AXE_SHA512
    assert AXE_SHA512 in (VENDOR / "README.md").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_no_violation(open_page: Open, path: str, scheme: str):
    page = settled(open_page(path, color_scheme=scheme))
    page.evaluate(AXE.read_text())
    # the dark palette changes colours only
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    only = {"type": "tag", "values": rules} if scheme == "light" else {"type": "rule", "values": ["color-contrast"]}
    found = page.evaluate("only => axe.run({runOnly: only, preload: false})", only)
    problems = [
        (violation["id"], node["target"], node["failureSummary"])
        for violation in found["violations"]
        for node in violation["nodes"][:3]
    ]
    assert problems == []


@pytest.mark.parametrize("path", PAGES)
def test_a_phone_scrolls_tables_not_pages(open_page: Open, path: str):
    page = settled(open_page(path, viewport={"width": 360, "height": 740}))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for table in page.locator("main table").all():
        box = table.evaluate(
            "t => { const s = t.closest('.scroll'); return s ? s.getBoundingClientRect().right : 9999; }"
        )
        assert box <= 360


def test_the_first_column_stays_on_a_phone(open_page: Open):
    page = open_page("tables/quick.mnist5k-linf-0_1.html", viewport={"width": 360, "height": 740})
    left = "document.querySelector('tr#crown th').getBoundingClientRect().left"
    before = page.evaluate(left)
    page.evaluate("document.querySelector('#grid').closest('.scroll').scrollLeft = 300")
    assert page.evaluate(left) == pytest.approx(before, abs=2)


@pytest.mark.parametrize(
    "path", ["index.html", "tables/quick.mnist5k-linf-0_1.html", "leaderboard/cifar10-linf-8-255.html"]
)
def test_tables_are_there_without_scripts(open_page: Open, path: str):
    page = open_page(path, java_script_enabled=False)
    assert page.locator("main tbody tr").count() > 5
    assert page.locator("form.facets, .tools, button.theme").locator("visible=true").count() == 0
    assert page.locator("main svg.chart").count() > 0 or "tables/" in path


def test_viewers_say_what_they_need_without_scripts(open_page: Open):
    page = open_page("input.html", java_script_enabled=False)
    assert page.get_by_text("filled by a script").is_visible()
    assert page.get_by_text("Loading").is_hidden()


def test_a_keyboard_reaches_facets_sorting_and_cells(open_page: Open):
    page = open_page("tables/quick.mnist5k-linf-0_1.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_role("checkbox", name="interval").focus()
    page.keyboard.press("Space")
    page.wait_for_function("location.search.includes('family=interval')")
    page.get_by_role("columnheader", name="Method").get_by_role("button").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("location.search.includes('sort=grid.method')")
    page.locator("tr#ibp td a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#inputs tbody tr")


def test_printing_leaves_the_table_and_drops_the_controls(open_page: Open):
    page = open_page("tables/quick.mnist5k-linf-0_1.html", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator(".facets, .tools, .top").locator("visible=true").count() == 0
    assert page.locator("#grid").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('td')).backgroundColor") == "rgb(255, 255, 255)"


def test_the_first_view_is_small_and_does_not_jump(open_page: Open, site: Path):
    page = open_page("index.html")
    sizes = page.evaluate("performance.getEntriesByType('resource').map(r => r.name)")
    loaded = {name.removeprefix(site.as_uri() + "/") for name in sizes} | {"index.html"}
    total = sum((site / name).stat().st_size for name in loaded if (site / name).is_file())
    assert total < 200_000
    shift = page.evaluate(LAYOUT_SHIFT)
    assert shift < 0.02
