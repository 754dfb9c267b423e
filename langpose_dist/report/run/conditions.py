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

Kind = Literal["pose", "retrieval"]
_OBSERVED = ("window", "camera", "noise", "masking", "target", "evaluation")
_SHORT = 60
_REFERENCES = {"pose": ("mean_pose", "mean pose"), "retrieval": ("chance", "chance")}


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
        return {
            "space": content.get("space", UNKNOWN),
            "data": f"{content.get('dataset')} {str(content.get('data_fingerprint'))[:16]}",
            "split": str(content.get("split")),
            "rate": f"{content.get('fps')} Hz",
            "2D input": str(content.get("source_2d", UNKNOWN)),
            "size": ", ".join(f"{content.get(name)} {name[4:].replace('_', ' ')}" for name in counts),
            "definitions": json.dumps({name: texts.get(name) for name in (*names, "windows", "condition")}),
            "window, camera, noise and masks": "not stated"
            if config is None
            else json.dumps({name: config.to_dict()[name] for name in _OBSERVED}),
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
    texts = {name: text for one in evaluated for name, text in one.content.get("protocol", {}).items()}
    metrics = {row.name: row for one in evaluated for row in one.metrics(kind)}
    keys = dict.fromkeys([row.protocol_name or row.name for row in metrics.values()])
    wanted = [*keys, _REFERENCES[kind][0], "condition", "windows"]
    section.below = [f"{name}: {texts[name]}" for name in wanted if name in texts]
    return section


def _differences(terms: Mapping[str, str], others: Mapping[str, str]) -> list[str]:
    """Terms that differ, with both values where these are short."""
    return [
        title + (f" ({value} against {others[title]})" if len(value + others[title]) < _SHORT else "")
        for title, value in terms.items()
        if value != others[title]
    ]


def _table(group: Sequence[Evaluated], kind: Kind) -> Table:
    terms, metrics = group[0].terms(kind), group[0].metrics(kind)
    key, title = _REFERENCES[kind]
    rows = []
    for condition in dict.fromkeys(name for one in group for name in one.content["conditions"]):
        for one in group:
            if condition in one.content["conditions"]:
                rows.append([condition, one.name, *_cells(one.content["conditions"][condition], metrics)])
    rows += [[title, one.name, *_cells(one.content[key], metrics)] for one in group if key in one.content]
    commits = sorted({str(one.content.get("commit"))[:12] for one in group})
    names = ("space", "data", "split", "rate", "size")
    origin = "; ".join(f"{name} {terms[name]}" for name in names)
    return Table(
        ["2D input", "model", *(row.axis for row in metrics)],
        rows,
        f"{origin}; 2D: {terms['2D input']}; commit {', '.join(commits)}",
    )


def _cells(values: Mapping[str, float], metrics: Sequence[Metric]) -> list[str]:
    return [say_number(values.get(row.name)) for row in metrics]
