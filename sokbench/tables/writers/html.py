"""HTML: a whole document without scripts or foreign files; `fragment` is the table alone, for other pages."""

from __future__ import annotations

from html import escape

from ..table import Cell, Column, Table

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color-scheme:light dark}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600}"
    "th,td{padding:.15rem .6rem;text-align:left;border-bottom:1px solid #8884}"
    ".number{text-align:right}thead th{border-bottom:2px solid}small{opacity:.75}"
)


def write(table: Table) -> str:
    notes = "".join(f"<p>{escape(note)}</p>\n" for note in table.notes)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(table.title)}</title>\n'
        f"<style>{_STYLE}</style>\n{fragment(table)}{notes}</html>\n"
    )


def fragment(table: Table) -> str:
    """The <table> element: caption, scoped headers, one <tbody> per group of rows."""
    lines = [f'<table id="{escape(table.name)}">', f"<caption>{escape(table.title)}</caption>", "<thead>"]
    groups = table.column_groups()
    if any(title for title, _ in groups):
        spans = (f'<th colspan="{span}" scope="colgroup">{escape(title)}</th>' for title, span in groups)
        lines.append(f"<tr>{''.join(spans)}</tr>")
    heads = (f'<th scope="col"{_class(column)}>{escape(column.title)}</th>' for column in table.columns)
    lines += [f"<tr>{''.join(heads)}</tr>", "</thead>"]
    for title, rows in table.row_groups():
        lines.append("<tbody>")
        if title:
            lines.append(f'<tr><th colspan="{len(table.columns)}" scope="rowgroup">{escape(title)}</th></tr>')
        for row in rows:
            first, *rest = zip(row.cells, table.columns, strict=True)
            cells = "".join(f"<td{_value(cell)}{_class(column)}>{_inner(cell)}</td>" for cell, column in rest)
            lines.append(f'<tr><th scope="row"{_class(first[1])}>{_inner(first[0])}</th>{cells}</tr>')
        lines.append("</tbody>")
    return "\n".join([*lines, "</table>"]) + "\n"


def _class(column: Column) -> str:
    return ' class="number"' if column.numeric else ""


def _value(cell: Cell) -> str:
    return "" if cell.value is None else f' data-value="{cell.value:.6g}"'


def _inner(cell: Cell) -> str:
    parts = [escape(cell.text)]
    if cell.interval:
        parts.append(f"<small>{cell.interval}</small>")
    if cell.marks:
        parts.append(f'<abbr title="{escape(cell.note)}">{escape(cell.marks)}</abbr>')
    elif cell.note:
        parts = [f'<abbr title="{escape(cell.note)}">{parts[0]}</abbr>', *parts[1:]]
    if cell.published:
        parts.append(f'<small class="published">({escape(cell.published)})</small>')
    return " ".join(parts)
