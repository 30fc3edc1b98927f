"""A built site and a headless Chromium that fails a test on any console message, page error or network request."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sokbench.audit.finding import Finding
from sokbench.audit.report import write_report
from sokbench.journal import read_rows
from sokbench.pages import build
from tests.sokbench.pages import synthetic

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL_MODEL = "my models/" + synthetic.EVIL + ".onnx"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="no Chromium: apt-get install chromium"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of about 3,000 rows: verify, radius and certify tasks, a contradicted method, names with markup."""
    results = tmp_path_factory.mktemp("results")
    inputs = range(0, 1000, 50)
    rows = [*synthetic.verify_rows(inputs), *synthetic.radius_rows(inputs), *synthetic.certify_rows(inputs)]
    rows += synthetic.verify_rows(inputs[:3], models=(EVIL_MODEL,), radii=(0.1,), methods=("ibp", "no_such_method"))
    rows += synthetic.property_rows()
    synthetic.write_results(results, rows)
    recorded = read_rows(results, "quick")
    wrong = next(row for row in recorded if row.method == "op_norm" and row.index == 50)
    finding = Finding(
        kind="conflict", severity="error", message="op_norm, linf 0.02: " + synthetic.EVIL, methods=("op_norm",),
        rows=(wrong.key,), dataset=wrong.dataset, model=wrong.model, index=wrong.index,
    )  # fmt: skip
    write_report(results, "quick", recorded, [finding])
    return build(results, tmp_path_factory.mktemp("site") / "public").parent


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, site: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page of the site; extra keywords are of the browser context (viewport, color_scheme, …)."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_at(path: str, **options: Any) -> Any:
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "accept_downloads": True, **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15000)
        page.on("console", lambda message: complaints.append(f"{page.url}: {message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"{page.url}: dialog {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else complaints.append(request.url)
            ),
        )
        page.goto((site / "index.html").as_uri().replace("index.html", path))
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
