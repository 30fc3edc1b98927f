"""Pages that scripts fill from data files: inputs of a cell, one input, two methods against each other."""

from __future__ import annotations

from .render import Renderer
from .view import View


def write(renderer: Renderer, view: View) -> None:
    renderer.page("inputs.html", "inputs.html", section="tables/index.html")
    renderer.page("input.html", "input.html", section="tables/index.html")
    renderer.page("compare.html", "compare.html", section="compare.html")
