"""The static pages: built from recorded rows and published records, opened by double click."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def build(
    results_dir: Path,
    out_dir: Path,
    suites: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Path:
    """Build the site into `out_dir` and return the path of its overview; see `pages.build.build` for the errors."""
    from .build import build as build_pages

    return build_pages(results_dir, out_dir, suites, progress)
