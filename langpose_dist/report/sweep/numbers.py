"""Statistics of a sweep: which configuration is best, by how much, and what it cost.

Values are only compared at the same step. A difference has an interval only where both sides were trained
with the same seeds, at least two; it is never called an improvement while its interval holds 0.
"""

import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from scipy.special import stdtrit

from langpose_dist.metrics.table import METRICS, higher_is_better
from langpose_dist.report.sweep.records import SweepRecord, TrialRecord

LEVEL = 0.95
"""Confidence level of every interval."""
OUTCOMES: tuple[str, ...] = ("finished", "stopped", "failed", "unfinished")
"""Ends of a trial; one that diverged failed, one that runs, waits or was interrupted is unfinished."""

_KEY_CONDITIONS = ("masked", "clean")
"""Conditions under which the key metrics are shown beside the objective."""
_BY_SEVERITY = ("diverged", "failed", "running", "pending", "interrupted", "stopped", "finished")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Trials that share their parameters and differ in their seed."""

    rank: int
    """Counted from 1."""
    params: Mapping[str, Any]
    """Empty for the baseline."""
    is_baseline: bool
    stage: str
    """``search`` or ``confirm``: the stage whose values count."""
    trials: tuple[TrialRecord, ...]
    """Trials of that stage, in the order of their seeds."""
    searched: tuple[TrialRecord, ...]
    """Trials of the search, where the values that count are of the confirm stage."""
    status: str
    """Status of all trials, or how many have which."""
    reason: str
    """Cause of an early end."""
    step: int
    """Last step that every trial has reached; of a failed configuration, where it failed."""
    is_complete: bool
    """True if it reached the last step of the sweep and none of its trials diverged."""
    is_lost: bool
    """True if it failed or diverged."""
    values: Mapping[str, Mapping[int, float]]
    """Metric -> seed -> value at ``step``, of metrics that every trial has there; empty if it failed."""
    num_missing: int
    """Seeds without a value (failed, or without a record) of a complete configuration."""
    front: int | None
    """Pareto front among the complete configurations, from 1; with one objective ``None``."""

    @property
    def is_on_front(self) -> bool:
        """True if no complete configuration is at least as good in both objectives and better in one."""
        return self.front == 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that have a value."""
        return tuple(next(iter(self.values.values()), {}))

    @property
    def device_seconds(self) -> float:
        """Sum over all its trials."""
        return sum(trial.device_seconds for trial in (*self.trials, *self.searched))

    def mean(self, metric: str) -> float | None:
        """Mean over its seeds; ``None`` where it was not measured."""
        values = self.values.get(metric)
        return statistics.fmean(values.values()) if values else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over its seeds; ``None`` for fewer than two."""
        values = self.values.get(metric, {})
        return statistics.stdev(values.values()) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of a metric between two configurations, as one minus other."""

    metric: str
    value: float
    one: float
    other: float
    """Means that were compared."""
    low: float | None
    high: float | None
    """Interval; ``None`` for fewer than two common seeds."""
    num_seeds: int
    """Seeds that both have; 0 where they have none in common."""

    @property
    def df(self) -> int | None:
        """Degrees of freedom of the interval."""
        return None if self.low is None else self.num_seeds - 1

    @property
    def verdict(self) -> Literal["better", "worse", "not shown", "no interval"]:
        """Conclusion about the one that the interval allows."""
        if self.low is None or self.high is None:
            return "no interval"
        if self.low <= 0 <= self.high:
            return "not shown"
        return "better" if (self.low > 0) == higher_is_better(self.metric) else "worse"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best configuration of the space against its reference."""

    best: Configuration
    reference: Configuration
    kind: Literal["baseline", "median"]
    differences: tuple[Difference, ...]
    """One per objective, then one per other key metric."""
    notes: tuple[str, ...]
    """Caveats."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Device hours: seconds times devices."""

    devices: str
    """Names of the devices."""
    hours: Mapping[str, float]
    """Outcome -> device hours, of all stages."""
    num_trials: Mapping[str, int]
    """Outcome -> trials."""

    @property
    def total_hours(self) -> float:
        """Sum over all outcomes."""
        return sum(self.hours.values())

    @property
    def ended_early_share(self) -> float | None:
        """Share spent on trials that were stopped or failed; ``None`` where nothing was spent."""
        total = self.total_hours
        return (self.hours["stopped"] + self.hours["failed"]) / total if total else None


def rank_configurations(
    sweep: SweepRecord,
    trials: Sequence[TrialRecord],
    *,
    stage: Literal["search", "confirm"] | None = None,
) -> list[Configuration]:
    """Group trials into configurations and put them in order, best first.

    In this order: those that reached the last step, with all their seeds before those that lack some, whose
    mean may be of the lucky ones; of those that did not, the one that came further, and at
    the same step the better one; those that failed or diverged. Where there is a confirm stage, its values
    decide, and what was only searched comes after what was confirmed. Of two objectives, whole Pareto fronts
    come one after another, and within a front the first objective decides.

    A configuration with several seeds is complete when at least one reached the last step and none diverged;
    its values are then of the seeds that did. Seeds that are still under way or stopped are compared at the
    last step that all of them have.

    Args:
        sweep: Gives the objective and the last step.
        trials: In any order.
        stage: Only this one's trials; default: all.
    """
    groups: dict[tuple[bool, str], list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.seed, trial.number)):
        if stage is None or trial.stage == stage:
            key = trial.is_baseline, json.dumps(trial.params, sort_keys=True)
            groups.setdefault(key, []).append(trial)
    found = [_configuration(sweep, group) for group in groups.values()]
    found.sort(key=lambda one: min(trial.number for trial in (*one.trials, *one.searched)))
    found.sort(key=_progress)
    ranked = [
        (one, number)
        for _, equals in itertools.groupby(found, key=_progress)
        for number, front in enumerate(_fronts(list(equals), sweep.objective), start=1)
        for one in front
    ]
    return [
        replace(one, rank=rank, front=number if _has_front(sweep, one, ranked[0][0]) else None)
        for rank, (one, number) in enumerate(ranked, start=1)
    ]


def key_metrics(sweep: SweepRecord, configurations: Sequence[Configuration]) -> list[str]:
    """The objective and the key metrics that any configuration has."""
    measured = {metric for one in configurations for metric in one.values} - set(sweep.objective)
    keys = (
        f"{condition}/{row.name}" for row in METRICS.values() if row.is_key for condition in _KEY_CONDITIONS
    )
    return [*sweep.objective, *(name for name in keys if name in measured)]


def common_step(trials: Sequence[TrialRecord], metrics: Sequence[str]) -> int:
    """Highest step at which every trial has all of the metrics; 0 if there is none."""
    common = [set(trial.steps_with(metrics)) for trial in trials]
    return max(set.intersection(*common), default=0) if common else 0


def find_difference(one: Configuration, other: Configuration, metric: str) -> Difference | None:
    """Compare two configurations in one metric, seed by seed where they have seeds in common.

    Returns:
        ``None`` if one of them was not measured, or at another step or in another stage.
    """
    mine, theirs = one.values.get(metric, {}), other.values.get(metric, {})
    if not mine or not theirs or (one.step, one.stage) != (other.step, other.stage):
        return None
    common = [seed for seed in mine if seed in theirs]
    if common:
        mine, theirs = ({seed: values[seed] for seed in common} for values in (mine, theirs))
    pairs = [mine[seed] - theirs[seed] for seed in common]
    means = statistics.fmean(mine.values()), statistics.fmean(theirs.values())
    low = high = None
    value = means[0] - means[1]
    if len(pairs) > 1:
        value = statistics.fmean(pairs)
        half = t_quantile(len(pairs) - 1) * statistics.stdev(pairs) / math.sqrt(len(pairs))
        low, high = value - half, value + half
    return Difference(
        metric=metric,
        value=value,
        one=means[0],
        other=means[1],
        low=low,
        high=high,
        num_seeds=len(common),
    )


def t_quantile(df: int) -> float:
    """Student's t that a two-sided interval of ``LEVEL`` takes."""
    return float(stdtrit(df, (1 + LEVEL) / 2))


def compare_best(sweep: SweepRecord, configurations: Sequence[Configuration]) -> Comparison | None:
    """Compare the best configuration of the space with the baseline.

    Without a baseline that reached the last step, the configuration of median rank takes its place, and the
    difference says what the choice was worth.

    Args:
        sweep: Gives the objective.
        configurations: From ``rank_configurations``.

    Returns:
        ``None`` if there is nothing to compare.
    """
    complete = [one for one in configurations if one.is_complete]
    if not complete:
        return None
    # Values of different stages are not compared.
    complete = [one for one in complete if one.stage == complete[0].stage]
    of_space = [one for one in complete if not one.is_baseline]
    baseline = next((one for one in complete if one.is_baseline), None)
    if not of_space or (baseline is None and len(of_space) < 2):
        return None
    best = of_space[0]
    reference = of_space[len(of_space) // 2] if baseline is None else baseline
    metrics = key_metrics(sweep, [best, reference])
    found = [find_difference(best, reference, metric) for metric in metrics]
    return Comparison(
        best=best,
        reference=reference,
        kind="median" if baseline is None else "baseline",
        differences=tuple(difference for difference in found if difference is not None),
        notes=tuple(_notes(configurations, of_space, best, baseline)),
    )


def sum_cost(trials: Sequence[TrialRecord]) -> Cost:
    """Sum up device hours by outcome."""
    hours, counts = dict.fromkeys(OUTCOMES, 0.0), dict.fromkeys(OUTCOMES, 0)
    for trial in trials:
        hours[outcome(trial)] += trial.device_seconds / 3600
        counts[outcome(trial)] += 1
    return Cost(
        devices=" and ".join(sorted({trial.device for trial in trials})) or "none",
        hours=hours,
        num_trials=counts,
    )


def outcome(trial: TrialRecord) -> str:
    """One of ``OUTCOMES``."""
    if trial.is_lost:
        return "failed"
    return trial.status if trial.status in ("finished", "stopped") else "unfinished"


def _configuration(sweep: SweepRecord, group: Sequence[TrialRecord]) -> Configuration:
    """Configuration of trials with the same parameters, without its rank."""
    confirmed = [trial for trial in group if trial.stage == "confirm"]
    trials = confirmed or group
    alive = [trial for trial in trials if not trial.is_lost]
    whole = [trial for trial in alive if sweep.num_steps in trial.steps_with(sweep.objective)]
    is_lost = not alive or any(trial.status == "diverged" for trial in trials)
    is_complete = bool(whole) and not is_lost
    if is_lost:
        counted, step = [], max(trial.step for trial in trials)
    elif is_complete:
        counted, step = whole, sweep.num_steps
    else:
        counted = [trial for trial in alive if trial.steps_with(sweep.objective)]
        step = common_step(counted, sweep.objective)
    worst = min((trial.status for trial in trials), key=_BY_SEVERITY.index)
    seeds = {trial.seed for trial in trials}
    # A search in front of a confirm stage has a seed of its own, which is not among those planned.
    planned = seeds | set(sweep.seeds) if seeds <= set(sweep.seeds) else seeds
    num_absent = len(planned - seeds) if is_complete else 0
    return Configuration(
        rank=0,
        params=trials[0].params,
        is_baseline=trials[0].is_baseline,
        stage=trials[0].stage,
        trials=tuple(trials),
        searched=tuple(trial for trial in group if confirmed and trial.stage != "confirm"),
        status=_say_status(trials, num_absent),
        reason=next((trial.reason for trial in trials if trial.status == worst and trial.reason), ""),
        step=step,
        is_complete=is_complete,
        is_lost=is_lost,
        values=_values(counted, step),
        num_missing=len(planned) - len({trial.seed for trial in whole}) if is_complete else 0,
        front=None,
    )


def _progress(one: Configuration) -> tuple[Any, ...]:
    """Sort key of the ranking before any value counts; only configurations with equal keys are compared."""
    step = -one.step if one.values else 1
    return one.is_lost, one.stage != "confirm", not one.is_complete, one.num_missing, step


def _values(trials: Sequence[TrialRecord], step: int) -> dict[str, dict[int, float]]:
    """Metric -> seed -> value; a point may be drawn twice, and trials of the same seed are averaged."""
    found = [(trial.seed, values) for trial in trials if (values := trial.values_at(step))]
    by_seed = {seed: [values for other, values in found if other == seed] for seed in sorted(dict(found))}
    return {
        name: {seed: statistics.fmean(values[name] for values in drawn) for seed, drawn in by_seed.items()}
        for name in (found[0][1] if found else ())
        if all(name in values for _, values in found)
    }


def _say_status(trials: Sequence[TrialRecord], num_absent: int) -> str:
    counts = Counter(trial.status for trial in trials)
    if len(counts) == 1 and not num_absent:
        return trials[0].status
    words = [f"{counts[name]} {name}" for name in reversed(_BY_SEVERITY) if counts[name]]
    return ", ".join([*words, *([f"{num_absent} without a record"] if num_absent else [])])


def _fronts(configurations: Sequence[Configuration], objective: Sequence[str]) -> list[list[Configuration]]:
    """Pareto fronts, best first, each by the first objective; of one objective a single list in its order."""
    left = sorted(((_losses(one, objective), one) for one in configurations), key=lambda pair: pair[0])
    if len(objective) == 1:
        return [[one for _, one in left]]
    fronts = []
    while left:
        is_front = [not any(_dominates(other, losses) for other, _ in left) for losses, _ in left]
        fronts.append([one for (_, one), is_best in zip(left, is_front, strict=True) if is_best])
        left = [pair for pair, is_best in zip(left, is_front, strict=True) if not is_best]
    return fronts


def _losses(one: Configuration, objective: Sequence[str]) -> tuple[float, ...]:
    """Means with lower being better; what was not measured comes last."""
    means = [(name, one.mean(name)) for name in objective]
    return tuple(
        math.inf if mean is None else -mean if higher_is_better(name) else mean for name, mean in means
    )


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def _has_front(sweep: SweepRecord, one: Configuration, first: Configuration) -> bool:
    # The search's values are not compared with those of the confirm stage.
    is_like = (one.stage, one.num_missing) == (first.stage, first.num_missing)
    return len(sweep.objective) > 1 and one.is_complete and is_like


def _notes(
    configurations: Sequence[Configuration],
    of_space: Sequence[Configuration],
    best: Configuration,
    baseline: Configuration | None,
) -> list[str]:
    notes = []
    if baseline is None:
        has_one = any(one.is_baseline for one in configurations)
        cause = "the baseline did not reach the last step" if has_one else "the sweep has no baseline"
        notes.append(
            f"{cause}: this is against the configuration of median rank, and says what the choice among "
            f"{len(of_space)} was worth, not that another setting is worse"
        )
    elif baseline.rank < best.rank:
        notes.append("the baseline ranks before every configuration of the space")
    searched = [one for one in configurations if not one.is_baseline and (one.values or one.is_lost)]
    if best.stage == "search" and len(searched) > 1:
        notes.append(
            f"the best of {len(searched)} was chosen by these same numbers, so they are optimistic; only "
            "seeds that chose nothing would tell"
        )
    if best.stage == "confirm" and len(of_space) > 1:
        notes.append(f"chosen among {len(of_space)} finalists by these numbers, over seeds fresh to them")
    if {len(best.seeds), len(baseline.seeds) if baseline else len(best.seeds)} == {1}:
        notes.append("one seed: how much the values vary between seeds is not known")
    return notes
