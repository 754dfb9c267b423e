"""Sections for people: one template each for terminal, Markdown and HTML.

Names, labels, reasons and devices are written by others. Every text that a template prints loses credentials
and control characters on its way and is escaped for its format.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from langpose_dist.host.redaction import printable, redact
from langpose_dist.report.sections import Section

_TERMINAL_ROWS = 30
_MARKDOWN = re.compile(r"[\\|<`*]|\](?=\()")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def to_text(sections: Sequence[Section], *, whole: str) -> str:
    """Render for a terminal, where long tables are cut; ``whole`` names the file that has all of them."""
    template = _template("page.txt")
    return template.render(sections=sections, max_rows=_TERMINAL_ROWS, aligned=_aligned, whole=whole).rstrip()


def to_markdown(sections: Sequence[Section], pictures: Sequence[Path] = ()) -> str:
    """Render as Markdown, which names the pictures beside it."""
    names = [path.name for path in pictures]
    return _template("page.md", _escape_markdown).render(sections=sections, pictures=names)


def to_html(sections: Sequence[Section], pictures: Sequence[Path] = ()) -> str:
    """Render as one HTML file that holds its pictures, needs no network and runs nothing.

    Args:
        sections: The first one's title is that of the page.
        pictures: PNG and SVG files that the sections name.
    """
    sources = {path.name: _data_uri(path) for path in pictures}
    return _template("page.html").render(sections=sections, pictures=sources)


def _data_uri(path: Path) -> Markup:
    return Markup(f"data:{_TYPES[path.suffix]};base64,{b64encode(path.read_bytes()).decode()}")


def _template(name: str, escape: Callable[[str], str] = str) -> Template:
    """A template that cleans and escapes every text it prints; for HTML Jinja2 escapes too."""

    def finalize(value: Any) -> Any:
        return escape(_clean(value)) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=name.endswith(".html"),
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def _clean(text: str) -> str:
    return printable(redact(text))


def _escape_markdown(text: str) -> str:
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", text)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    rows = [[_clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
