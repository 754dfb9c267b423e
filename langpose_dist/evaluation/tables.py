"""A comparison as text, CSV and LaTeX."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from langpose_dist.evaluation.cells import align, booktabs, show
from langpose_dist.evaluation.robustness_tables import (
    robustness_latex,
    robustness_rows,
    robustness_text,
    visibility_latex,
    visibility_rows,
    visibility_text,
)
from langpose_dist.metrics.table import metric_of

Report = Mapping[str, Any]


def as_text(report: Report) -> str:
    """Tables for a terminal: the headline metric by group, every metric as a mean, differences, protocol."""
    parts = [align(group_rows(report)), align(mean_rows(report))]
    if report["improvements"]:
        parts.append("\n".join(map(describe_improvement, report["improvements"])))
    if "mean_over_cameras" in report:
        parts.append(describe_cameras(report))
    if "visibility" in report:
        parts.append(visibility_text(report["visibility"], report["protocol"]["group"]))
    if "robustness" in report:
        parts.append(robustness_text(report["robustness"]))
    return "\n\n".join([*parts, describe_protocol(report)])


def group_rows(report: Report) -> list[list[str]]:
    """The headline metric: a head, a row per group and two of means; a column per model."""
    group, models = report["protocol"]["group"], report["models"]
    headline = report["protocol"]["metrics"][0]
    rows = [[metric_of(headline).axis, *(model["name"] for model in models)]]
    for name in models[0][f"{group}s"]:
        rows.append([name, *(show(model[f"{group}s"].get(name, {}).get(headline)) for model in models)])
    rows.append([f"mean over {group}s", *(show(model[f"{group}_mean"][headline]) for model in models)])
    rows.append(["mean over frames", *(show(model["frame_mean"][headline]) for model in models)])
    return rows


def mean_rows(report: Report) -> list[list[str]]:
    """A head and a row per metric, then those of named sets; a column per model."""
    group, models = report["protocol"]["group"], report["models"]
    rows = [[f"mean over {group}s", *(model["name"] for model in models)]]
    for metric in report["protocol"]["metrics"]:
        cells = (show(model[f"{group}_mean"][metric]) for model in models)
        rows.append([metric_of(metric).axis, *cells])
    for name in models[0]["sets"]:
        for metric in report["protocol"]["metrics"]:
            cells = (show(model["sets"].get(name, {}).get(metric)) for model in models)
            rows.append([f"{name}: {metric_of(metric).axis}", *cells])
    return rows


def describe_cameras(report: Report) -> str:
    """One line of means over models that left one camera out each."""
    values = (f"{metric_of(name).axis} {value:.1f}" for name, value in report["mean_over_cameras"].items())
    return f"mean over the held-out cameras: {', '.join(values)}"


def describe_improvement(found: Mapping[str, Any]) -> str:
    """One line about a difference."""
    row = metric_of(found["metric"])
    return (
        f"{found['model']} on {found['baseline']}: {row.title} better by {found['mean']:+.2f} {row.unit} "
        f"(95 % over recordings: {found['low']:+.2f} to {found['high']:+.2f})"
    )


def describe_protocol(report: Report) -> str:
    """Lines that say what the numbers are."""
    protocol, data = report["protocol"], report["data"]
    is_dirty = report["commit_dirty"] == "true"
    excluded = {name: len(keys) for name, keys in data["excluded"].items()}
    left_out = ", ".join(f"{count} {name}" for name, count in excluded.items()) or "none"
    lines = [
        f"protocol {protocol['name']}: {protocol['title']}",
        f"space {protocol['space']}, scale {protocol['scale_source']}; {protocol['root']}",
        f"clip rule {protocol['clip_rule']}, merging {protocol['merging']}, flip averaging "
        f"{'on' if protocol['flip_averaging'] else 'off'}; recordings left out: {left_out}",
        f"{data['num_recordings']} recordings, {data['num_frames']} frames of {data['dataset']}, split "
        f"{data['split']}, {data['fps']:g} Hz ({data['fingerprint'][:16]}); 2D: {data['source_2d']}",
        *_describe_camera(data.get("camera")),
        f"commit {report['commit'][:12]}{' with uncommitted changes' if is_dirty else ''}",
    ]
    for model in report["models"]:
        lines.append(
            f"{model['name']}: {model['num_frames']} frames counted; checkpoint chosen on: "
            f"{model['model']['checkpoint_chosen_on']}"
        )
    return "\n".join(lines)


def _describe_camera(camera: Mapping[str, Any] | None) -> list[str]:
    if camera is None:
        return []
    ranges = [
        f"{name} {tuple(camera[f'camera.{name}'])}" for name in ("elevation", "distance", "focal_length")
    ]
    return [f"virtual camera: {', '.join(ranges)}; noise {camera['noise.gaussian_std']} m"]


def as_csv(report: Report) -> str:
    """One value per line, with what identifies it."""
    group, data, protocol = report["protocol"]["group"], report["data"], report["protocol"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    origin = ["protocol", "space", "dataset", "split", "fingerprint", "source_2d", "commit"]
    writer.writerow(["model", "metric", "unit", "over", "value", *origin])
    known = [protocol["name"], protocol["space"]]
    known += [data[name] for name in ("dataset", "split", "fingerprint", "source_2d")] + [report["commit"]]
    for model in report["models"]:
        parts = {f"{group}s": model[f"{group}_mean"], "frames": model["frame_mean"]}
        parts |= {f"{group} {name}": values for name, values in model[f"{group}s"].items()}
        parts |= {f"set {name}": values for name, values in model["sets"].items()}
        for over, values in parts.items():
            for metric, value in values.items():
                writer.writerow([model["name"], metric, metric_of(metric).unit, over, f"{value:.6f}", *known])
    rows = [*visibility_rows(report["visibility"], group)] if "visibility" in report else []
    rows += robustness_rows(report["robustness"]) if "robustness" in report else []
    for *start, value in rows:
        writer.writerow([*start, f"{value:.6f}", *known])
    return stream.getvalue()


def as_latex(report: Report) -> str:
    """A booktabs table: a row per model, a column per group, as papers print it."""
    group, metric = report["protocol"]["group"], report["protocol"]["metrics"][0]
    groups = list(report["models"][0][f"{group}s"])
    lines = ["% " + line for line in describe_protocol(report).splitlines()]
    rows = []
    for model in report["models"]:
        values = [model[f"{group}s"].get(name, {}).get(metric) for name in groups]
        values += [model[f"{group}_mean"][metric], model["frame_mean"][metric]]
        rows.append([model["name"], *map(show, values)])
    head = [metric_of(metric).axis, *groups, "Avg.", "frames"]
    lines.append(booktabs("l" + "r" * (len(groups) + 2), [head], rows))
    lines += [visibility_latex(report["visibility"], group)] if "visibility" in report else []
    lines += [robustness_latex(report["robustness"])] if "robustness" in report else []
    return "\n".join(lines)


def as_json(report: Report) -> str:
    """The whole report."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


FORMATS: Mapping[str, Callable[[Report], str]] = {
    "text": as_text,
    "json": as_json,
    "csv": as_csv,
    "latex": as_latex,
}

ENDINGS = {"text": "txt", "json": "json", "csv": "csv", "latex": "tex"}
