"""A report as data: sections of text, tables and figures, whatever they are about."""

import math
import re
from dataclasses import dataclass, field

NONE = "-"
"""Cell without a value."""


@dataclass
class Table:
    """Rows of cells below a head."""

    head: list[str]
    rows: list[list[str]]
    title: str = ""
    is_folded: bool = False
    """Closed until somebody opens it, where the format can."""

    @property
    def number_columns(self) -> list[bool]:
        """True for each column that holds numbers alone; never the first, which names the rows."""
        _, *columns = zip(self.head, *self.rows, strict=True)
        return [False, *(all(re.match(r"[-+]?\d|-?$", cell) for cell in cells) for _, *cells in columns)]


@dataclass
class Section:
    """A heading with lines, tables, lines below them, and figures."""

    title: str
    lines: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    """File name -> caption; those that were not drawn are left out when rendering."""


def say_number(value: float | None, scale: float | None = None) -> str:
    """A metric's value with four digits of ``scale``, by default of itself."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.{decimals(value if scale is None else scale)}f}"


def decimals(scale: float) -> int:
    """Decimals that give a number of this size four digits."""
    if not scale or not math.isfinite(scale):
        return 2
    return min(6, max(0, 3 - math.floor(math.log10(abs(scale)))))
