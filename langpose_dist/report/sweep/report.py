"""All that is told of a sweep, as one object; reading it costs seconds, training it took days."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.report.sweep.importance import Importance, find_importance
from langpose_dist.report.sweep.numbers import (
    Comparison,
    Configuration,
    Cost,
    Difference,
    compare_best,
    find_difference,
    key_metrics,
    rank_configurations,
    sum_cost,
)
from langpose_dist.report.sweep.records import SweepFolder, SweepRecord, TrialRecord, read_protocol

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a sweep found."""

    folder: SweepFolder
    configurations: tuple[Configuration, ...]
    """Best first."""
    differences: Mapping[int, tuple[Difference, ...]]
    """Rank -> difference to the best in each objective, where it can be told."""
    comparison: Comparison | None
    """The best against the baseline."""
    importance: tuple[Importance, ...]
    """Of each objective."""
    cost: Cost
    protocol: Mapping[str, str]
    """Metric -> what it means, as the best trial that says so has it."""
    files: tuple[Path, ...] = ()
    """What was written."""

    @property
    def sweep(self) -> SweepRecord:
        """What was swept."""
        return self.folder.sweep

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """All of them."""
        return self.folder.trials

    @property
    def metrics(self) -> list[str]:
        """The objective and the other metrics worth a column."""
        return key_metrics(self.sweep, self.configurations)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON, without credentials."""
        sweep = json.loads(self.sweep.model_dump_json())
        sweep["environment"] = redact_values(sweep["environment"])
        content = {
            "format": FORMAT,
            "run": str(self.folder.path),
            "sweep": sweep,
            "warnings": list(self.folder.warnings),
            "protocol": dict(self.protocol),
            "configurations": [self._describe(one) for one in self.configurations],
            "comparison": self._describe_comparison(),
            "importance": [
                asdict(one)
                | {"shares": [asdict(share) | {"is_shown": share.is_shown} for share in one.shares]}
                for one in self.importance
            ],
            "cost": asdict(self.cost)
            | {"total_hours": self.cost.total_hours, "ended_early_share": self.cost.ended_early_share},
            "trials": [json.loads(trial.model_dump_json()) for trial in self.trials],
            "files": [str(path) for path in self.files],
        }
        return _redacted(content)

    def _describe(self, one: Configuration) -> dict[str, Any]:
        return {
            "rank": one.rank,
            "params": dict(self.sweep.baseline_params if one.is_baseline else one.params),
            "is_baseline": one.is_baseline,
            "stage": one.stage,
            "trials": [trial.trial_id for trial in one.trials],
            "searched": [trial.trial_id for trial in one.searched],
            "status": one.status,
            "reason": one.reason,
            "step": one.step,
            "is_complete": one.is_complete,
            "front": one.front,
            "is_on_front": one.is_on_front,
            "device_seconds": one.device_seconds,
            "values": {
                metric: {
                    "mean": one.mean(metric),
                    "spread": one.spread(metric),
                    "by_seed": {str(seed): value for seed, value in values.items()},
                }
                for metric, values in one.values.items()
            },
            "difference_to_best": list(map(_describe_difference, self.differences.get(one.rank, ()))),
        }

    def _describe_comparison(self) -> dict[str, Any] | None:
        if self.comparison is None:
            return None
        return {
            "kind": self.comparison.kind,
            "best": self.comparison.best.rank,
            "reference": self.comparison.reference.rank,
            "differences": list(map(_describe_difference, self.comparison.differences)),
            "notes": list(self.comparison.notes),
        }


def build_report(folder: SweepFolder) -> Report:
    """Work out everything that the report says; nothing is written."""
    sweep, trials = folder.sweep, folder.trials
    ranked = rank_configurations(sweep, trials)
    differences = {}
    for one in ranked[1:]:
        found = [find_difference(one, ranked[0], metric) for metric in sweep.objective]
        differences[one.rank] = tuple(difference for difference in found if difference is not None)
    return Report(
        folder=folder,
        configurations=tuple(ranked),
        differences=differences,
        comparison=compare_best(sweep, ranked),
        importance=tuple(find_importance(sweep, trials, metric) for metric in sweep.objective),
        cost=sum_cost(trials),
        protocol=_find_protocol(folder, ranked),
    )


def _find_protocol(folder: SweepFolder, ranked: list[Configuration]) -> dict[str, str]:
    for one in ranked:
        for trial in one.trials:
            if protocol := read_protocol(folder.path, trial.trial_id):
                return protocol
    return {}


def _describe_difference(difference: Difference) -> dict[str, Any]:
    return asdict(difference) | {"df": difference.df, "verdict": difference.verdict}


def _redacted(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _redacted(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_redacted(value) for value in content]
    return redact(content) if isinstance(content, str) else content
