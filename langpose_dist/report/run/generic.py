"""Tables of any JSON report."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from langpose_dist.report.sections import NONE, Table

_LONG_LIST = 8
_FOLD_FROM = 30
"""Rows of a table that stays closed."""


def generic_tables(content: Mapping[str, Any], title: str = "") -> Iterator[Table]:
    """Each list or mapping of alike rows in one table; single values in one that is folded below the top.

    A number with its ``low`` and ``high`` is a single value; empty lists and mappings are left out.
    """
    rows = [
        [name, _cell(value)] for name, value in content.items() if _is_cell(value) and value not in ([], {})
    ]
    if rows:
        yield Table(["", "value"], rows, title, is_folded=bool(title))
    for name, value in content.items():
        if not _is_cell(value):
            yield from _row_tables(value, f"{title}: {name}" if title else name)


def _row_tables(rows: Any, title: str) -> Iterator[Table]:
    """A table of rows, and one for each key below which they have more than a single value."""
    items = dict(zip(_names(rows), rows, strict=True)) if isinstance(rows, list) else rows
    if not _are_rows([*items.values()]):
        yield from generic_tables(items, title)
        return
    columns = dict.fromkeys(key for one in items.values() for key, value in one.items() if _is_cell(value))
    if columns:
        cells = [[_cell(one.get(key)) for key in columns] for one in items.values()]
        if isinstance(rows, dict):
            columns, cells = ["", *columns], [[name, *row] for name, row in zip(items, cells, strict=True)]
        yield Table([*columns], cells, title, is_folded=len(cells) > _FOLD_FROM)
    for key in dict.fromkeys(key for one in items.values() for key in one if not _is_cell(one[key])):
        inner = {name: one[key] for name, one in items.items() if key in one}
        yield from _row_tables(inner, f"{title}: {key}")


def _are_rows(items: list[Any]) -> bool:
    """True for mappings with single values, and for several with the same keys."""
    if any(_is_cell(one) or isinstance(one, list) for one in items):
        return False
    has_values = all(any(map(_is_cell, one.values())) for one in items)
    return has_values or (len(items) > 1 and len({tuple(one) for one in items}) == 1)


def _names(rows: list[Any]) -> list[str]:
    """Names of a list's rows: their texts where these tell them apart, else numbers."""
    texts = [
        ", ".join(v for v in one.values() if isinstance(v, str)) for one in rows if isinstance(one, dict)
    ]
    is_told = len(set(texts)) == len(rows) and all(texts)
    return texts if is_told else [str(place + 1) for place in range(len(rows))]


def _is_cell(value: Any) -> bool:
    match value:
        case dict():
            return not value or (len(value) == 3 and {"low", "high"} < value.keys())
        case list():
            return not any(isinstance(one, dict) for one in value)
        case _:
            return True


def _cell(value: Any) -> str:
    match value:
        case {"low": low, "high": high, **rest}:
            return f"{_cell(*rest.values())} [{_cell(low)}, {_cell(high)}]"
        case None | [] | {}:
            return NONE
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case [[*_], *_]:
            return f"{len(value)} lists"
        case list() if len(value) > _LONG_LIST:
            return f"{len(value)} values, from {_cell(value[0])} to {_cell(value[-1])}"
        case list():
            return ", ".join(map(_cell, value))
        case _:
            text = str(value)
            return text[:16] if re.fullmatch("[0-9a-f]{40,}", text) else text  # a hash
