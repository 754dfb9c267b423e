"""Reports of the analyses as sections of a report."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langpose_dist.analysis.probe_text import curve_notes, curve_rows, pair_rows, probe_notes, probe_rows
from langpose_dist.analysis.text import (
    mmd_notes,
    mmd_rows,
    table3_notes,
    table3_rows,
    visibility_notes,
    visibility_tables,
)
from langpose_dist.analysis.words_text import (
    recognition_notes,
    recognition_tables,
    retrieval_notes,
    retrieval_tables,
)
from langpose_dist.report.analysis import draw_curve, draw_table3
from langpose_dist.report.sections import Section, Table

Report = Mapping[str, Any]


def mmd_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: a row per action or subject."""
    head, *rows = mmd_rows(report)
    section.tables.append(Table(head, rows))
    section.below += mmd_notes(report)


def table3_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: a row per action, the correlations, a scatter plot per column."""
    head, *rows = table3_rows(report)
    section.tables.append(Table(head, rows))
    section.below += table3_notes(report)
    draw_table3(figure, report)
    section.figures[figure.name] = "improvement over each column, a point per action"


def visibility_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: a row per action, a row per joint."""
    (head, *actions), (joint_head, *joints) = visibility_tables(report)
    section.tables += [Table(head, actions), Table(joint_head, joints, "by joint", is_folded=True)]
    section.below += visibility_notes(report)


def probe_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: kinds and pairs of labels, or one clip over time."""
    if "times_s" in report:
        head, *rows = curve_rows(report)
        section.tables.append(Table(head, rows))
        section.below += curve_notes(report)
        draw_curve(figure, report)
        section.figures[figure.name] = f"{report['clip']} over time, by {report['name']}"
        return
    (head, *kinds), (pair_head, *pairs) = probe_rows(report), pair_rows(report)
    section.tables += [Table(head, kinds), Table(pair_head, pairs, "by pair", is_folded=True)]
    section.below += probe_notes(report)


def recognise_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: all chunks, chunks by length, names that pretraining was not shown."""
    for title, (head, *rows) in recognition_tables(report).items():
        section.tables.append(Table(head, rows, title, is_folded=title == "by length of the segment"))
    section.below += recognition_notes(report)


def retrieve_section(section: Section, report: Report, figure: Path) -> None:
    """Fill a section: a table of all models, or one for each query."""
    section.tables += [Table(head, rows) for head, *rows in retrieval_tables(report)]
    section.below += retrieval_notes(report)


SECTIONS: Mapping[str, Callable[[Section, Report, Path], None]] = {
    "mmd": mmd_section,
    "table3": table3_section,
    "visibility": visibility_section,
    "probe": probe_section,
    "recognise": recognise_section,
    "retrieve": retrieve_section,
}
"""By analysis: fills a section from its report and draws into a file."""
