"""LaTeX with booktabs, ready to be put into a paper."""

from __future__ import annotations

from ..table import Cell, Table

_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "ε": r"$\varepsilon$",
        "∞": r"$\infty$",
        "ℓ": r"$\ell$",
        "–": "--",
        "±": r"$\pm$",
        "≤": r"$\leq$",
        "×": r"$\times$",
    }
)


def escape(text: str) -> str:
    """Text with the characters that mean something to LaTeX made harmless."""
    return text.translate(_SPECIAL)


def write(table: Table) -> str:
    """A table environment; needs \\usepackage{booktabs}."""
    alignment = "".join("r" if column.numeric else "l" for column in table.columns)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "  \\centering",
        f"  \\caption{{{escape(table.title)}}}",
        f"  \\label{{tab:{table.name}}}",
        f"  \\begin{{tabular}}{{{alignment}}}",
        "    \\toprule",
        *_head(table),
        "    \\midrule",
        *_body(table),
        "    \\bottomrule",
        "  \\end{tabular}",
        *(f"  \\par\\footnotesize {escape(note)}" for note in table.notes),
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _head(table: Table) -> list[str]:
    lines = []
    groups = table.column_groups()
    if any(title for title, _ in groups):
        spans = [
            f"\\multicolumn{{{span}}}{{c}}{{{escape(title)}}}" if title else "&" * (span - 1) for title, span in groups
        ]
        rules, start = [], 1
        for title, span in groups:
            if title:
                rules.append(f"\\cmidrule(lr){{{start}-{start + span - 1}}}")
            start += span
        lines = [f"    {' & '.join(spans)} \\\\", f"    {' '.join(rules)}"]
    return [*lines, f"    {' & '.join(escape(column.title) for column in table.columns)} \\\\"]


def _body(table: Table) -> list[str]:
    lines: list[str] = []
    for title, rows in table.row_groups():
        if title:
            lines += ["    \\addlinespace"] * bool(lines)
            lines.append(f"    \\multicolumn{{{len(table.columns)}}}{{l}}{{\\textit{{{escape(title)}}}}} \\\\")
        lines += [f"    {_protected(' & '.join(map(_cell, row.cells)))} \\\\" for row in rows]
    return lines


def _protected(line: str) -> str:
    # a bracket after \\ would be read as its argument
    return "{}" + line if line.startswith("[") else line


def _cell(cell: Cell) -> str:
    parts = [escape(cell.text)]
    if cell.marks:
        parts.append(f"$^{{\\mathrm{{{escape(cell.marks).replace(' ', ',')}}}}}$")
    small = " ".join(filter(None, (cell.interval, f"({cell.published})" if cell.published else "")))
    if small:
        parts.append(f" {{\\scriptsize {escape(small)}}}")
    return "".join(parts)
