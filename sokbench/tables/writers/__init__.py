"""One file per format; each has `write(table) -> str`. `FORMATS` maps the file suffix to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ..table import Table
from . import comma, html, latex, markdown, text

FORMATS: Final[Mapping[str, Callable[[Table], str]]] = {
    "txt": text.write,
    "csv": comma.write,
    "tex": latex.write,
    "html": html.write,
    "md": markdown.write,
}
