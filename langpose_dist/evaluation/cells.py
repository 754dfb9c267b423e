"""Cells of tables: numbers as text, columns that line up."""

from collections.abc import Sequence


def show(value: float | None) -> str:
    """A number with one decimal; ``-`` where there is none."""
    return "-" if value is None or value != value else f"{value:.1f}"


def escape(text: str) -> str:
    """Text for LaTeX."""
    for sign in "&%_#$":
        text = text.replace(sign, "\\" + sign)
    return text


def booktabs(columns: str, *groups: Sequence[Sequence[str]]) -> str:
    """LaTeX table of rows of cells, with a line between two groups of rows."""
    bodies = ["\n".join(" & ".join(map(escape, row)) + r" \\" for row in rows) for rows in groups]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            "\n\\midrule\n".join(bodies),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
