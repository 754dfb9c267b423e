"""Evaluations by protocols as sections of a report."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langpose_dist.evaluation.captions import caption_notes, caption_rows, example_rows
from langpose_dist.evaluation.robustness_tables import curve_rows, describe_gain, key_of, visible_rows
from langpose_dist.evaluation.tables import describe_cameras, describe_protocol, group_rows, mean_rows
from langpose_dist.metrics.table import metric_of
from langpose_dist.report.robustness import draw_robustness
from langpose_dist.report.sections import Section, Table

LIFTING = "Lifting by protocol"
PER_ACTION = "Errors by action"
COMPARISON = "Comparison with intervals"
ROBUSTNESS = "Robustness"
CAPTIONS = "Captions"
VISIBLE = "Errors of visible and other joints"


def protocol_sections(reports: Mapping[str, Mapping[str, Any]], folder: Path) -> Iterator[Section]:
    """Sections of reports of ``langpose evaluate --protocol``; those without data are left out.

    Models of several reports stand in one table where protocol, data and commit are equal, else apart.

    Args:
        reports: By a line about their origin.
        folder: To draw figures into.
    """
    groups = _join(reports.values())
    if groups:
        apart = ["models of different protocols, spaces, data or commits stand apart"]
        origins = [*reports, *(apart if len(groups) > 1 else [])]
        lifting = Section(LIFTING, origins, [_table(mean_rows(group), group) for group in groups])
        for group in groups:
            lifting.below += describe_protocol(group).splitlines()
            lifting.below += [describe_cameras(group)] if "mean_over_cameras" in group else []
        yield lifting
        yield Section(PER_ACTION, tables=[_table(group_rows(group), group) for group in groups])
    if any(report["improvements"] for report in reports.values()):
        yield _comparison(reports)
    builders = {ROBUSTNESS: _robustness, VISIBLE: _visible}
    for (title, build), key in zip(builders.items(), ("robustness", "visibility"), strict=True):
        found = {origin: report for origin, report in reports.items() if key in report}
        if found:
            yield build(Section(title), found, folder)


def caption_section(reports: Mapping[str, Mapping[str, Any]]) -> Section | None:
    """Captions of reports of ``langpose evaluate``, by a line about their origin; ``None`` without any."""
    if not reports:
        return None
    section = Section(CAPTIONS, [*reports])
    for report in reports.values():
        found = report["captions"]
        (head, *rows), (example_head, *examples) = caption_rows(found), example_rows(found)
        data = f"{report['dataset']} {report['data_fingerprint'][:16]}, split {report['split']}"
        made = found["protocol"]["caption"]
        text = f"input {made['input']}, text form {made['text_form']}"
        section.tables += [
            Table(head, rows, f"{data}; {text}; commit {report['commit'][:12]}"),
            Table(example_head, examples, "best and worst captions of the model", is_folded=True),
        ]
        section.below += [note for note in caption_notes(found) if note not in section.below]
    return section


def _join(reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Reports whose protocol, data and commit are equal, as one; a model that several hold counts once."""
    groups: dict[str, dict[str, Any]] = {}
    for report in reports:
        key = json.dumps([report["protocol"], report["data"], report["commit"]], sort_keys=True)
        group = groups.setdefault(key, {**report, "models": []})
        group["models"] = [*group["models"], *(one for one in report["models"] if one not in group["models"])]
    return [*groups.values()]


def _table(rows: Sequence[list[str]], report: Mapping[str, Any]) -> Table:
    return Table(rows[0], [*rows[1:]], _identity(report))


def _identity(report: Mapping[str, Any]) -> str:
    protocol, data = report["protocol"], report["data"]
    return (
        f"protocol {protocol['name']}, space {protocol['space']}; {data['dataset']}, split {data['split']} "
        f"({data['fingerprint'][:16]}); 2D: {data['source_2d']}; commit {report['commit'][:12]}"
    )


def _comparison(reports: Mapping[str, Mapping[str, Any]]) -> Section:
    section = Section(COMPARISON)
    for report in reports.values():
        rows = []
        for one in report["improvements"]:
            numbers = [f"{one['mean']:+.2f}", f"[{one['low']:+.2f}, {one['high']:+.2f}]"]
            is_shown = not one["low"] <= 0 <= one["high"]
            found = ("better" if one["low"] > 0 else "worse") if is_shown else "no difference shown"
            rows.append([one["model"], one["baseline"], metric_of(one["metric"]).axis, *numbers, found])
        head = ["model", "baseline", "metric", "better by", "95 %", ""]
        section.tables += [Table(head, rows, _identity(report))] if rows else []
    section.below.append("interval: bootstrap over recordings, drawn in pairs; each row stands for itself")
    return section


def _robustness(section: Section, reports: Mapping[str, Mapping[str, Any]], folder: Path) -> Section:
    for place, report in enumerate(reports.values()):
        found = report["robustness"]
        path = folder / f"robustness-{place}.svg"
        draw_robustness(path, found)
        section.figures[path.name] = (
            f"{metric_of(found['metric']).axis} by severity, mean {found['mean']}; {_identity(report)}"
        )
        for curve in found["curves"]:
            head, *rows = curve_rows(curve)
            section.tables.append(
                Table(head, rows, f"{key_of(curve)}: {curve['description']}", is_folded=True)
            )
            section.below += [f"{key_of(curve)}: {describe_gain(one)}" for one in curve["improvements"]]
        section.lines.append(f"version {found['version']} of the corruptions; area: mean height of the curve")
    return section


def _visible(section: Section, reports: Mapping[str, Mapping[str, Any]], folder: Path) -> Section:
    for report in reports.values():
        found, group = report["visibility"], report["protocol"]["group"]
        for model in found["models"]:
            head, *rows = visible_rows([model], group)
            rows[-1][0] = f"mean over {group}s"
            section.tables.append(Table(head, rows, f"{model['name']}; {_identity(report)}"))
        line = f"MPJPE in mm of joints whose confidence is above {found['threshold']:g}, and of the others"
        section.lines.append(line)
    return section
