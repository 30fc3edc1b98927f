"""Markdown with pipes, as GitHub reads it."""

from __future__ import annotations

from ..table import Table, plain


def write(table: Table) -> str:
    """Group titles of columns stand before the column's title, those of rows on a row of their own, in bold."""
    titles = [_text(" ".join(filter(None, (column.group, column.title)))) for column in table.columns]
    lines = [f"**{_text(table.title)}**", "", _row(titles)]
    lines.append(_row(["--:" if column.numeric else ":--" for column in table.columns]))
    for title, rows in table.row_groups():
        if title:
            lines.append(_row([f"**{_text(title)}**", *[""] * (len(table.columns) - 1)]))
        lines += [_row([_text(plain(cell)) for cell in row.cells]) for row in rows]
    for note in table.notes:
        lines += ["", _text(note)]
    return "\n".join(lines) + "\n"


def _row(texts: list[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _text(text: str) -> str:
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")
