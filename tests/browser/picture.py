"""Takes the README's picture: python -m tests.browser.picture site/public/index.html docs/overview.png"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from .conftest import CHROMIUM, FLAGS


def main() -> None:
    page_path, picture = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 980}, color_scheme="light")
        page.goto(page_path.as_uri())
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
