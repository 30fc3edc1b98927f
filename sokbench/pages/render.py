"""Templates and files: the Jinja environment (everything is escaped), and where pages and assets are written."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from markupsafe import Markup

from ..core.registry import ROOT
from ..measured import names
from ..measured.status import STATUSES
from .charts import curve_icon, marker_icon
from .paths import inputs_path, method_path

if TYPE_CHECKING:
    from jinja2 import Environment

    from ..measured.cells import Cell

SITE = ROOT / "site"
SECTIONS = (
    ("index.html", "Overview"),
    ("leaderboard/index.html", "Leaderboard"),
    ("tables/index.html", "Tables"),
    ("properties/index.html", "Properties"),
    ("methods/index.html", "Methods"),
    ("compare.html", "Compare"),
    ("runs/index.html", "Runs"),
    ("contribute.html", "Contribute"),
)


@final
class Renderer:
    """Writes pages below `out`. `common`: values every page sees."""

    def __init__(self, out: Path, common: dict[str, Any]) -> None:
        self.out = out
        self.pages: list[str] = []
        self._common = common

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(SITE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(
            percent=names.percent_text,
            seconds=names.seconds_text,
            norm=names.norm_text,
            radius=names.radius_text,
            slug=names.slug,
            safe_url=safe_url,
        )
        environment.globals.update(
            marker_icon=marker_icon,
            curve_icon=curve_icon,
            statuses=STATUSES,
            sections=SECTIONS,
            inputs_path=inputs_path,
            method_path=method_path,
            bar=bar,
        )
        return environment

    def page(self, path: str, template: str, **values: Any) -> None:
        """Render `template` to `path` (relative to the output); templates see `root`, the way back to the top."""
        root = "../" * path.count("/")
        context = {"section": "", **self._common, **values, "root": root, "path": path}
        text = self._environment.get_template(template).render(context)
        target = self.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        self.pages.append(path)

    def assets(self) -> None:
        """Copy style sheet, scripts and pictures."""
        shutil.copytree(SITE / "assets", self.out / "assets", dirs_exist_ok=True)


def safe_url(url: str) -> str:
    """The address if it leads to the web, empty otherwise: records come from strangers, `javascript:` does too."""
    return url if url.startswith(("https://", "http://")) else ""


def bar(cell: Cell) -> Markup:
    """The picture behind a result: a pale bar as long as the certified share, below it what became of all inputs."""
    total = len(cell.rows)
    parts = [Markup('<rect class="wash" width="{}" height="40"/>').format(_percent(cell.verified, total))]
    start = 0
    for status in STATUSES:
        count = cell.counts.get(status.name, 0)
        if count and status.name != "missing":
            fill = (
                Markup(' fill="url(#hatch)"')
                if status.name == "timeout"
                else Markup(' class="s-{}"').format(status.name)
            )
            place = Markup('<rect{} x="{}" y="37" width="{}" height="3"/>')
            parts.append(place.format(fill, _percent(start, total), _percent(count, total)))
            start += count
    body = Markup("").join(parts)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 40" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(body)


def _percent(count: int, total: int) -> str:
    return f"{round(100 * count / total, 2):g}"
