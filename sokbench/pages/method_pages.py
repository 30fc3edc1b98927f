"""The taxonomy, and one page per method: what it relaxes, what it can do, its results, its citation."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass

from markdown_it import MarkdownIt
from markupsafe import Markup

from ..core.method import FAMILIES, MethodInfo
from ..core.registry import Entry as Method
from ..core.registry import catalog
from ..measured.cells import Cell
from .boards import Entry
from .paths import method_path
from .relaxations import drawings
from .render import Renderer
from .view import View


@dataclass(frozen=True)
class MethodResults:
    """What is recorded of a method: ranked or not, by setting."""

    entries: list[tuple[str, Entry]]
    radius_cells: list[Cell]


def write(renderer: Renderer, view: View) -> None:
    known = catalog()
    results = _results(view)
    renderer.page(
        "methods/index.html",
        "method_index.html",
        section="methods/index.html",
        families=_taxonomy(known),
        recorded={slug: sum(len(e.cell.rows) for _, e in found.entries) for slug, found in results.items()},
        method_path=method_path,
    )
    for slug in sorted(set(known) | set(results)):
        entry = known.get(slug)
        renderer.page(
            method_path(slug),
            "method.html",
            section="methods/index.html",
            slug=slug,
            info=entry.info if entry else None,
            explained=_explained(entry),
            looser=_looser(entry, known),
            bibtex=bibtex(entry.info) if entry else "",
            drawings=drawings(entry) if entry else [],
            found=results.get(slug, MethodResults([], [])),
            known=set(known),
            method_path=method_path,
        )


def _results(view: View) -> dict[str, MethodResults]:
    found: dict[str, MethodResults] = defaultdict(lambda: MethodResults([], []))
    for board in view.boards:
        for entry in board.entries:
            found[entry.cell.contender.method].entries.append((board.suite, entry))
    for cell in view.cells:
        if cell.task != "verify":
            found[cell.contender.method].radius_cells.append(cell)
    return dict(found)


def _taxonomy(known: dict[str, Method]) -> list[tuple[str, list[MethodInfo]]]:
    by_family: dict[str, list[MethodInfo]] = defaultdict(list)
    for entry in known.values():
        by_family[entry.info.family].append(entry.info)
    order = [*FAMILIES, *sorted(set(by_family) - set(FAMILIES))]
    return [(family, by_family[family]) for family in order if family in by_family]


def _explained(entry: Method | None) -> Markup:
    """The docstring of the method's file, which says what is relaxed, where it is sound, and what it costs: paragraphs,
    lists, code. Links and emphasis are not read: there are brackets and stars in formulas."""
    if entry is None or entry.path is None:
        return Markup()
    text = ast.get_docstring(ast.parse(entry.path.read_text(encoding="utf-8"))) or ""
    reader = MarkdownIt("commonmark", {"html": False}).disable(["link", "image", "autolink", "emphasis"])
    return Markup(reader.render(text))


def _looser(entry: Method | None, known: dict[str, Method]) -> list[str]:
    """Methods whose bounds this one's never exceed, by theory, in the other direction of `tighter_than`."""
    if entry is None:
        return []
    return sorted(slug for slug, other in known.items() if entry.info.slug in other.info.tighter_than)


def bibtex(info: MethodInfo) -> str:
    """A BibTeX entry from what is known: the paper as cited, its year, its address."""
    years = re.findall(r"\b(?:19|20)\d\d\b", info.paper)
    fields = [("note", info.paper), ("year", years[-1] if years else ""), ("url", info.url)]
    escaped = [
        (name, re.sub(r"([&%#_])", r"\\\1", value) if name == "note" else value) for name, value in fields if value
    ]
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in escaped)
    return f"@misc{{{info.slug},\n{body}\n}}"
