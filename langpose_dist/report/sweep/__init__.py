"""Sweeps: read their folder, rank their configurations, write their report.

``records`` reads and checks, ``numbers`` ranks and compares, ``importance`` weighs the parameters, ``report``
gathers it all, ``plots`` and ``render`` show it.
"""

import json
from dataclasses import replace
from pathlib import Path

from langpose_dist.config import UserError
from langpose_dist.report.render import to_html, to_markdown
from langpose_dist.report.sweep.numbers import Configuration, rank_configurations
from langpose_dist.report.sweep.plots import draw_pictures
from langpose_dist.report.sweep.records import TrialRecord, read_sweep
from langpose_dist.report.sweep.render import build_sections, to_text
from langpose_dist.report.sweep.report import Report, build_report

__all__ = [
    "Configuration",
    "TrialRecord",
    "rank_configurations",
    "read_sweep",
    "to_text",
    "write_report",
]


def write_report(run_dir: Path, out: Path | None = None) -> Report:
    """Write the report of a sweep, finished or not: texts, JSON and pictures.

    Args:
        run_dir: The sweep's folder.
        out: Folder to write to; default: ``report`` in the sweep's. An earlier report there is replaced.

    Returns:
        The report, with the files that were written.

    Raises:
        UserError: If ``run_dir`` is not a sweep's folder, or ``out`` not a folder.
    """
    report = build_report(read_sweep(run_dir))
    folder = run_dir / "report" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is no folder; name another with --out") from None
    pictures = draw_pictures(report, folder)
    names = ("sweep.md", "sweep.html", "report.json")
    report = replace(report, files=(*(folder / name for name in names), *pictures))
    sections = build_sections(report)
    contents = {
        "sweep.md": to_markdown(sections, pictures),
        "sweep.html": to_html(sections, pictures),
        "report.json": json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return report
