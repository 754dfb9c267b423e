"""Sweeps: read their folder, rank their configurations, write their report.

The parts: ``sweep_records`` reads and checks, ``sweep_numbers`` ranks and compares, ``sweep_importance``
weighs the parameters, ``sweep_report`` gathers, ``sweep_text`` and ``sweep_plots`` show.
"""

import json
from dataclasses import replace
from pathlib import Path

from langpose_dist.config import UserError
from langpose_dist.report.sweep.numbers import (
    Comparison,
    Configuration,
    Cost,
    Difference,
    compare_best,
    find_difference,
    rank_configurations,
    sum_cost,
)
from langpose_dist.report.sweep.plots import draw_pictures
from langpose_dist.report.sweep.records import SweepFolder, SweepRecord, TrialRecord, read_sweep
from langpose_dist.report.sweep.report import Report, build_report
from langpose_dist.report.sweep.text import to_csv, to_markdown, to_text

__all__ = [
    "Comparison",
    "Configuration",
    "Cost",
    "Difference",
    "Report",
    "SweepFolder",
    "SweepRecord",
    "TrialRecord",
    "build_report",
    "compare_best",
    "find_difference",
    "rank_configurations",
    "read_sweep",
    "sum_cost",
    "to_text",
    "write_report",
]


def write_report(run_dir: Path, out: Path | None = None) -> Report:
    """Write the report of a sweep, finished or not: text, table, JSON and pictures.

    Args:
        run_dir: The sweep's folder.
        out: Where to; default: ``report`` in it. What an earlier report left there is replaced.

    Returns:
        The report, with the files that were written.

    Raises:
        UserError: If ``run_dir`` is no sweep's folder, or ``out`` no folder.
    """
    report = build_report(read_sweep(run_dir))
    folder = run_dir / "report" if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is no folder; name another with --out") from None
    texts = [folder / name for name in ("sweep.md", "trials.csv", "report.json")]
    pictures = draw_pictures(report, folder)
    report = replace(report, files=(*texts, *pictures))
    markdown = to_markdown(report, [path.name for path in pictures])
    contents = (markdown, to_csv(report), json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n")
    for path, text in zip(texts, contents, strict=True):
        path.write_text(text, encoding="utf-8")
    return report
