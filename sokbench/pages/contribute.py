"""How to get in: records, models, methods; what is checked."""

from __future__ import annotations

from .render import Renderer
from .view import View


def write(renderer: Renderer, view: View) -> None:
    renderer.page("contribute.html", "contribute.html", section="contribute.html")
