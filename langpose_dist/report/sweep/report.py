"""The report of a sweep as data."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.metrics.table import metric_of
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
from langpose_dist.report.sweep.records import SweepFolder, SweepRecord, TrialRecord

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of a sweep."""

    folder: SweepFolder
    configurations: tuple[Configuration, ...]
    """Best first."""
    differences: Mapping[int, tuple[Difference, ...]]
    """Rank -> difference to the best in each objective, where it can be told."""
    comparison: Comparison | None
    """The best against the baseline."""
    importance: tuple[Importance, ...]
    """One per objective."""
    cost: Cost
    files: tuple[Path, ...] = ()
    """Files that were written."""

    @property
    def sweep(self) -> SweepRecord:
        """Settings and state of the sweep."""
        return self.folder.sweep

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Trials of all stages."""
        return self.folder.trials

    @property
    def metrics(self) -> list[str]:
        """The objective and the key metrics, which have a column each."""
        return key_metrics(self.sweep, self.configurations)

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON, without credentials."""
        sweep = self.sweep.model_dump(mode="json")
        sweep["environment"] = redact_values(sweep["environment"])
        found = self.comparison
        content = {
            "format": FORMAT,
            "run": str(self.folder.path),
            "sweep": sweep,
            "warnings": self.folder.warnings,
            "protocol": {name: metric_of(name).protocol for name in self.metrics},
            "configurations": [self._describe(one) for one in self.configurations],
            "comparison": found
            and {
                "kind": found.kind,
                "best": found.best.rank,
                "reference": found.reference.rank,
                "differences": _dump(found.differences, "df", "verdict"),
                "notes": found.notes,
            },
            "importance": [
                asdict(one) | {"shares": _dump(one.shares, "is_shown")} for one in self.importance
            ],
            "cost": _dump([self.cost], "total_hours", "ended_early_share")[0],
            "trials": [trial.model_dump(mode="json") for trial in self.trials],
            "files": list(map(str, self.files)),
        }
        return _redacted(content)

    def _describe(self, one: Configuration) -> dict[str, Any]:
        plain = "rank is_baseline stage status reason step is_complete front is_on_front device_seconds"
        return {name: getattr(one, name) for name in plain.split()} | {
            "params": dict(self.sweep.baseline_params if one.is_baseline else one.params),
            "trials": [trial.trial_id for trial in one.trials],
            "searched": [trial.trial_id for trial in one.searched],
            "values": {
                metric: {
                    "mean": one.mean(metric),
                    "spread": one.spread(metric),
                    "by_seed": {str(seed): value for seed, value in values.items()},
                }
                for metric, values in one.values.items()
            },
            "difference_to_best": _dump(self.differences.get(one.rank, ()), "df", "verdict"),
        }


def build_report(folder: SweepFolder) -> Report:
    """Work out all results; nothing is written."""
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
    )


def _dump(items: Iterable[Any], *properties: str) -> list[dict[str, Any]]:
    """Fields of dataclasses, with some of their properties."""
    return [asdict(item) | {name: getattr(item, name) for name in properties} for item in items]


def _redacted(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _redacted(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_redacted(value) for value in content]
    return redact(content) if isinstance(content, str) else content
