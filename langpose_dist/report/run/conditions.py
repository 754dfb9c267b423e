"""Evaluations of training: which of them stand in one table, and their tables.

Two stand in one table only if space, data, windows, 2D input and the definitions of the numbers are equal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langpose_dist.config import RunConfig
from langpose_dist.metrics.table import METRICS, Metric
from langpose_dist.report.run.records import UNKNOWN, Material, Run
from langpose_dist.report.sections import Section, Table, say_number

Kind = Literal["pose", "retrieval", "caption"]
_OBSERVED = (
    *("camera.", "noise.", "data.observation", "window.num_frames", "window.clip_rule"),
    "evaluation.flip_averaging",
)
"""Beginnings of the configuration's keys that change what a model sees in an evaluation."""
_NOT_STATED = "not stated"
_SHORT = 60
_REFERENCES = {"pose": ("mean_pose", "mean pose"), "retrieval": ("chance", "chance"), "caption": ("", "")}


@dataclass(frozen=True)
class Evaluated:
    """One evaluation, in conditions of the 2D input."""

    name: str
    content: Mapping[str, Any]
    config: RunConfig | None
    """``None`` where the file does not say it."""

    def metrics(self, kind: Kind) -> list[Metric]:
        """Metrics of a kind that it has."""
        given = {name for values in self.content["conditions"].values() for name in values}
        return [row for row in METRICS.values() if row.kind == kind and row.name in given]

    def terms(self, kind: Kind) -> dict[str, str]:
        """All that its numbers depend on beside the model."""
        content, config = self.content, self.config
        texts = content.get("protocol", {})
        names = [row.protocol_name or row.name for row in self.metrics(kind)]
        counts = ["num_windows", "num_frames"]
        counts += ["num_labelled_windows", "num_labels"] if kind == "retrieval" else []
        observed = {"configuration": _NOT_STATED}
        if config is not None:
            flat = {key: str(value) for key, value in config.to_flat().items()}
            observed = {key: value for key, value in flat.items() if key.startswith(_OBSERVED)}
            if "masked" in content["conditions"]:
                masks = [f"{key} {value}" for key, value in flat.items() if key.startswith("masking.")]
                observed["masks of the masked condition"] = ", ".join(masks)
        return {
            "space": content.get("space", UNKNOWN),
            "data": f"{content.get('dataset')} {str(content.get('data_fingerprint'))[:16]}",
            "split": str(content.get("split")),
            "rate": f"{content.get('fps')} Hz",
            "2D input": str(content.get("source_2d", UNKNOWN)),
            "size": ", ".join(f"{content.get(name)} {name[4:].replace('_', ' ')}" for name in counts),
            **{f"definition of {name}": str(texts.get(name)) for name in (*names, "windows", "condition")},
            **observed,
        }


def find_evaluated(runs: Sequence[Run], materials: Sequence[Material]) -> list[Evaluated]:
    """The runs' own evaluations, and those that ``langpose evaluate`` wrote without a protocol."""
    configs = {run.config.hash(): run.config for run in runs}
    found = [Evaluated(run.name, run.evaluation, run.config) for run in runs if run.evaluation]
    return found + [
        Evaluated(one.path.name, one.content, configs.get(one.content.get("config_hash", "")))
        for one in materials
        if one.kind == "conditions"
    ]


def condition_section(title: str, evaluated: Sequence[Evaluated], kind: Kind) -> Section | None:
    """A table for each group that compares; ``None`` if none has such metrics."""
    groups: dict[str, list[Evaluated]] = {}
    for one in evaluated:
        if one.metrics(kind):
            groups.setdefault(json.dumps(one.terms(kind)), []).append(one)
    if not groups:
        return None
    first, *others = groups.values()
    section = Section(title)
    for group in others:
        reasons = _differences(group[0].terms(kind), first[0].terms(kind))
        names = ", ".join(one.name for one in group)
        section.lines.append(f"{names}: apart from {first[0].name}, as these differ: {'; '.join(reasons)}")
    section.tables = [_table(group, kind) for group in groups.values()]
    section.below = [*dict.fromkeys(line for group in groups.values() for line in _definitions(group, kind))]
    return section


def _definitions(group: Sequence[Evaluated], kind: Kind) -> list[str]:
    one = group[0]
    texts = one.content.get("protocol", {})
    names = dict.fromkeys(row.protocol_name or row.name for row in one.metrics(kind))
    lines = [
        f"{name}: {texts[name]}" for name in (*names, _REFERENCES[kind][0], "condition") if name in texts
    ]
    models = ", ".join(dict.fromkeys(each.name for each in group))
    return [*lines, f"windows of {models}: {texts['windows']}"] if "windows" in texts else lines


def _differences(terms: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Terms that differ, with both values where these are short."""
    found = []
    for title in dict.fromkeys([*terms, *others]):
        value, other = (some.get(title, "none") for some in (terms, others))
        if value != other:
            found.append(title + (f" ({value} against {other})" if len(value + other) < _SHORT else ""))
    return found


def _table(group: Sequence[Evaluated], kind: Kind) -> Table:
    terms, metrics = group[0].terms(kind), group[0].metrics(kind)
    key, title = _REFERENCES[kind]
    scales = {row.name: _largest(group, row.name) for row in metrics}
    rows = []
    for condition in dict.fromkeys(name for one in group for name in one.content["conditions"]):
        for one in group:
            if condition in one.content["conditions"]:
                rows.append([condition, one.name, *_cells(one.content["conditions"][condition], scales)])
    rows += [[title, one.name, *_cells(one.content[key], scales)] for one in group if key in one.content]
    commits = sorted({str(one.content.get("commit"))[:12] for one in group})
    names = ("space", "data", "split", "rate", "size")
    origin = "; ".join(f"{name} {terms[name]}" for name in names)
    return Table(
        ["2D input", "model", *(row.axis for row in metrics)],
        rows,
        f"{origin}; 2D: {terms['2D input']}; commit {', '.join(commits)}",
    )


def _cells(values: Mapping[str, float], scales: Mapping[str, float]) -> list[str]:
    return [say_number(values.get(name), scale) for name, scale in scales.items()]


def _largest(group: Sequence[Evaluated], metric: str) -> float:
    return max(values.get(metric, 0.0) for one in group for values in one.content["conditions"].values())
