"""Plain text in columns, for terminals."""

from __future__ import annotations

from ..table import Column, Table, plain


def write(table: Table) -> str:
    """The table with its title, a rule under the head, group titles on lines of their own, and its notes."""
    body = [[plain(cell) for cell in row.cells] for row in table.rows]
    widths = [
        max([len(column.title), *(len(line[i]) for line in body)], default=0) for i, column in enumerate(table.columns)
    ]
    groups = table.column_groups()
    if any(title for title, _ in groups):
        widths = _widened(widths, groups)
    lines = [table.title, ""]
    if any(title for title, _ in groups):
        lines.append(_group_line(widths, groups))
    lines.append(_line([column.title for column in table.columns], widths, table.columns))
    lines.append("  ".join("-" * width for width in widths))
    texts = iter(body)
    for title, rows in table.row_groups():
        if title:
            lines.append(title)
        lines += [_line(next(texts), widths, table.columns) for _ in rows]
    if table.notes:
        lines += ["", *table.notes]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _line(texts: list[str], widths: list[int], columns: tuple[Column, ...]) -> str:
    cells = zip(texts, widths, columns, strict=True)
    return "  ".join(text.rjust(width) if column.numeric else text.ljust(width) for text, width, column in cells)


def _widened(widths: list[int], groups: list[tuple[str, int]]) -> list[int]:
    """Widths at which every group title fits over its columns."""
    result, start = list(widths), 0
    for title, span in groups:
        have = sum(result[start : start + span]) + 2 * (span - 1)
        result[start + span - 1] += max(0, len(title) - have)
        start += span
    return result


def _group_line(widths: list[int], groups: list[tuple[str, int]]) -> str:
    parts, start = [], 0
    for title, span in groups:
        parts.append(title.center(sum(widths[start : start + span]) + 2 * (span - 1)))
        start += span
    return "  ".join(parts)
