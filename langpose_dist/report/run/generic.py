"""Tables of any JSON report."""

from collections.abc import Iterator, Mapping
from typing import Any

from langpose_dist.report.sections import NONE, Table

_LONG_LIST = 8
_FOLD_FROM = 30
"""Rows of a table that stays closed."""


def generic_tables(content: Mapping[str, Any], title: str = "") -> Iterator[Table]:
    """Single values in one table of two columns, each list or mapping of alike rows in one of its own."""
    rows = [[name, _cell(value)] for name, value in content.items() if _is_cell(value)]
    if rows:
        yield Table(["", "value"], rows, title, is_folded=len(rows) > _FOLD_FROM)
    for name, value in content.items():
        path = f"{title}: {name}" if title else name
        if _is_cell(value):
            continue
        items = value if isinstance(value, dict) else {str(place): one for place, one in enumerate(value, 1)}
        if all(isinstance(one, dict) and any(map(_is_cell, one.values())) for one in items.values()):
            yield _joined(path, items)
            inner = {name: {k: v for k, v in one.items() if not _is_cell(v)} for name, one in items.items()}
            for key, one in inner.items():
                yield from generic_tables(one, f"{path}: {key}")
        else:
            yield from generic_tables(items, path)


def _joined(title: str, items: Mapping[str, Mapping[str, Any]]) -> Table:
    columns = dict.fromkeys(key for one in items.values() for key, value in one.items() if _is_cell(value))
    rows = [[name, *(_cell(one.get(key)) for key in columns)] for name, one in items.items()]
    return Table(["", *columns], rows, title, is_folded=len(rows) > _FOLD_FROM)


def _is_cell(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_cell(one) and not isinstance(one, list) for one in value)
    return not isinstance(value, dict)


def _cell(value: Any) -> str:
    match value:
        case None | []:
            return NONE
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list() if len(value) > _LONG_LIST:
            return f"{len(value)} values, from {_cell(value[0])} to {_cell(value[-1])}"
        case list():
            return ", ".join(map(_cell, value))
        case _:
            return str(value)
