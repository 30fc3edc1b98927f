"""How long the pages of 100,000 rows take to build, and the overview to open. Repeat with: python bench/pages.py

Rows are made up, with witnesses and logs as real ones have them: 9 models, 11 methods, 2 radii, 510 inputs. Targets:
built in under 60 s; the overview open in headless Chromium in under 1 s with a first view under 200 kB.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sokbench import pages
from tests.browser.conftest import FLAGS
from tests.sokbench.pages import synthetic

TARGETS = {"build_seconds": 60.0, "open_seconds": 1.0, "first_view_bytes": 200_000.0}
# two frames after the load event everything is laid out and painted, and every script has run
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def write_rows(results: Path, inputs: int) -> int:
    """Record made-up rows for `inputs` inputs; returns how many rows that is."""
    stride = 1000 // inputs if inputs <= 1000 else 1
    rows = list(synthetic.verify_rows(range(0, inputs * stride, stride)))
    synthetic.write_results(results, rows)
    return len(rows)


def open_overview(index: Path, times: int = 5) -> dict[str, Any]:
    """Seconds from navigation until the overview is drawn, and the bytes it loads."""
    from playwright.sync_api import sync_playwright

    seconds, loaded = [], 0
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(times):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            started = time.monotonic()
            page.goto(index.as_uri(), wait_until="load")
            page.evaluate(PAINTED)
            seconds.append(time.monotonic() - started)
            names = page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
            files = {Path(name.removeprefix("file://")) for name in names} | {index}
            loaded = sum(file.stat().st_size for file in files if file.is_file())
            page.close()
        browser.close()
    return {"open_seconds": statistics.median(seconds), "first_view_bytes": loaded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=510, help="198 rows each")
    parser.add_argument("--keep", type=Path, help="build into this folder and leave it there")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = write_rows(Path(folder) / "results", chosen.inputs)
        started = time.monotonic()
        index = pages.build(Path(folder) / "results", chosen.keep or Path(folder) / "public")
        found: dict[str, Any] = {"rows": rows, "build_seconds": time.monotonic() - started}
        built = [path for path in index.parent.rglob("*") if path.is_file()]
        found |= {"files": len(built), "megabytes": sum(path.stat().st_size for path in built) / 1e6}
        found["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        if shutil.which("chromium"):
            found |= open_overview(index)
    missed = [name for name, target in TARGETS.items() if found.get(name, 0.0) > target]
    print(json.dumps({name: round(value, 3) for name, value in found.items()} | {"missed": missed}, indent=1))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
