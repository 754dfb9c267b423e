"""What a sweep's trials say: which configuration is best, by how much, and what it cost.

Values are only compared at the same step. A difference has an interval only where both sides were trained
with the same seeds, at least two; it is never called an improvement while its interval holds 0.
"""

import json
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from scipy.special import stdtrit

from langpose_dist.metrics.table import higher_is_better
from langpose_dist.report.sweep.records import SweepRecord, TrialRecord

LEVEL = 0.95
"""Of every interval."""
KEY_METRICS = ("masked/mpjpe_mm", "clean/mpjpe_mm", "masked/r_at_1", "clean/r_at_1")
"""Shown beside the objective where they were measured."""
OUTCOMES: tuple[str, ...] = ("finished", "stopped", "failed", "unfinished")
"""What became of a trial; one that diverged failed, one that runs, waits or was interrupted is unfinished."""

_BY_SEVERITY = ("diverged", "failed", "running", "pending", "interrupted", "stopped", "finished")


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Trials that share their parameters and differ in their seed."""

    rank: int
    """From 1."""
    params: Mapping[str, Any]
    """Empty for the baseline."""
    is_baseline: bool
    stage: str
    """``search`` or ``confirm``: the stage whose values count."""
    trials: tuple[TrialRecord, ...]
    """Those of that stage, in the order of their seeds."""
    searched: tuple[TrialRecord, ...]
    """Those of the search, where the values that count are of the confirm stage."""
    status: str
    """Of all trials, or how many have which."""
    reason: str
    """Why it ended early, if it did."""
    step: int
    """The last that every trial has reached; of a failed one, where it failed."""
    is_complete: bool
    """Whether it reached the last step of the sweep and none of its trials diverged."""
    is_lost: bool
    """Whether it failed or diverged."""
    values: Mapping[str, Mapping[int, float]]
    """Metric -> seed -> value at ``step``, of metrics that every trial has there; of a failed one nothing."""
    num_missing: int
    """Of a complete one: seeds without a value, be it that they failed or that there is no record of them."""
    front: int | None
    """Pareto front among the complete ones, from 1; with one objective ``None``."""

    @property
    def is_on_front(self) -> bool:
        """Whether no complete configuration is at least as good in both objectives and better in one."""
        return self.front == 1

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds with a value."""
        return tuple(next(iter(self.values.values()), {}))

    @property
    def device_seconds(self) -> float:
        """Of all its trials."""
        return sum(trial.device_seconds for trial in (*self.trials, *self.searched))

    def mean(self, metric: str) -> float | None:
        """Over its seeds; ``None`` where it was not measured."""
        values = self.values.get(metric)
        return statistics.fmean(values.values()) if values else None

    def spread(self, metric: str) -> float | None:
        """Standard deviation over its seeds; ``None`` for fewer than two."""
        values = self.values.get(metric, {})
        return statistics.stdev(values.values()) if len(values) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much a metric of one configuration differs from that of another, as one minus other."""

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
        """What the interval says of the one."""
        if self.low is None or self.high is None:
            return "no interval"
        if self.low <= 0 <= self.high:
            return "not shown"
        return "better" if (self.low > 0) == higher_is_better(self.metric) else "worse"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The best configuration of the space against what it is measured by."""

    best: Configuration
    reference: Configuration
    kind: Literal["baseline", "median"]
    differences: tuple[Difference, ...]
    """Of each objective, then of the other key metrics."""
    notes: tuple[str, ...]
    """What to bear in mind."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Device hours: seconds times devices."""

    devices: str
    """What they are."""
    hours: Mapping[str, float]
    """Outcome -> device hours, of all stages."""
    num_trials: Mapping[str, int]
    """Outcome -> trials."""
    full_length_hours: float | None
    """If every trial had taken as long as the median finished one; ``None`` without a finished one."""

    @property
    def total_hours(self) -> float:
        """Of all trials."""
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
    groups: dict[tuple[bool, str, str], list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.seed, trial.number)):
        if stage is None or trial.stage == stage:
            # Values at the end do not tell members of a population apart: each had its own before.
            member = trial.trial_id if sweep.scheduler.name == "pbt" else ""
            key = trial.is_baseline, json.dumps(trial.params, sort_keys=True), member
            groups.setdefault(key, []).append(trial)
    found = [_configuration(sweep, group) for group in groups.values()]
    found.sort(key=lambda one: min(trial.number for trial in (*one.trials, *one.searched)))
    buckets: dict[tuple[Any, ...], list[Configuration]] = {}
    for one in found:
        key = (
            one.is_lost,
            one.stage != "confirm",
            not one.is_complete,
            one.num_missing,
            -one.step if one.values else 1,
        )
        buckets.setdefault(key, []).append(one)
    ranked = [
        (one, front)
        for key in sorted(buckets)
        for front, fronts in enumerate(_fronts(buckets[key], sweep.objective), start=1)
        for one in fronts
    ]
    return [
        replace(one, rank=rank, front=front if _has_front(sweep, one, ranked[0][0]) else None)
        for rank, (one, front) in enumerate(ranked, start=1)
    ]


def key_metrics(sweep: SweepRecord, configurations: Sequence[Configuration]) -> list[str]:
    """The objective and the other metrics worth a column: those that any configuration has."""
    measured = {metric for one in configurations for metric in one.values}
    return [*sweep.objective, *(name for name in KEY_METRICS if name in measured - set(sweep.objective))]


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
    """The difference that the best configuration of the space makes.

    Against the baseline; without one that reached the last step against the configuration of median rank,
    which says what the choice was worth.

    Args:
        sweep: What was swept.
        configurations: From ``rank_configurations``.

    Returns:
        ``None`` if there is nothing to compare.
    """
    complete = [one for one in configurations if one.is_complete]
    if not complete:
        return None
    # What counts is decided in one stage.
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
        notes=tuple(_notes(sweep, configurations, of_space, best, baseline)),
    )


def sum_cost(trials: Sequence[TrialRecord]) -> Cost:
    """Device hours by outcome."""
    hours, counts = dict.fromkeys(OUTCOMES, 0.0), dict.fromkeys(OUTCOMES, 0)
    for trial in trials:
        hours[outcome(trial)] += trial.device_seconds / 3600
        counts[outcome(trial)] += 1
    whole = [trial.device_seconds for trial in trials if trial.status == "finished"]
    full = None
    if whole:
        usual = statistics.median(whole)
        others = (trial.device_seconds for trial in trials if trial.status != "finished")
        full = (sum(whole) + sum(max(usual, seconds) for seconds in others)) / 3600
    return Cost(
        devices=" and ".join(sorted({trial.device for trial in trials})) or "none",
        hours=hours,
        num_trials=counts,
        full_length_hours=full,
    )


def outcome(trial: TrialRecord) -> str:
    """One of ``OUTCOMES``."""
    if trial.is_lost:
        return "failed"
    return trial.status if trial.status in ("finished", "stopped") else "unfinished"


def _configuration(sweep: SweepRecord, group: Sequence[TrialRecord]) -> Configuration:
    confirmed = [trial for trial in group if trial.stage == "confirm"]
    trials = confirmed or group
    searched = [trial for trial in group if trial.stage != "confirm"] if confirmed else []
    alive = [trial for trial in trials if not trial.is_lost]
    whole = [trial for trial in alive if _has_ended(trial, sweep)]
    has_diverged = any(trial.status == "diverged" for trial in trials)
    is_lost = has_diverged or not alive
    measured = [trial for trial in alive if trial.steps_with(sweep.objective)]
    step = 0
    if is_lost:
        counted: Sequence[TrialRecord] = ()
        step = max(trial.step for trial in trials)
    elif whole:
        counted, step = whole, sweep.num_steps
    else:
        counted = measured
        common = [set(trial.steps_with(sweep.objective)) for trial in measured]
        step = max(set.intersection(*common), default=0) if common else 0
    worst = min((trial.status for trial in trials), key=_BY_SEVERITY.index)
    is_complete = bool(whole) and not is_lost
    seeds = {trial.seed for trial in trials}
    # A search in front of a confirm stage has a seed of its own, which is none of these.
    planned = seeds | set(sweep.seeds) if seeds <= set(sweep.seeds) else seeds
    num_absent = len(planned) - len(seeds) if is_complete else 0
    return Configuration(
        rank=0,
        params=trials[0].params,
        is_baseline=trials[0].is_baseline,
        stage=trials[0].stage,
        trials=tuple(trials),
        searched=tuple(searched),
        status=_say_status(trials, num_absent),
        reason=next((trial.reason for trial in trials if trial.status == worst and trial.reason), ""),
        step=step,
        is_complete=is_complete,
        is_lost=is_lost,
        values=_values(counted, step),
        num_missing=len(planned) - len({trial.seed for trial in whole}) if is_complete else 0,
        front=None,
    )


def _has_ended(trial: TrialRecord, sweep: SweepRecord) -> bool:
    return sweep.num_steps in trial.steps_with(sweep.objective)


def _values(trials: Sequence[TrialRecord], step: int) -> dict[str, dict[int, float]]:
    """Metric -> seed -> value; a point may be drawn twice, and trials of the same seed are averaged."""
    found = [(trial.seed, values) for trial in trials if (values := trial.values_at(step))]
    seeds = sorted({seed for seed, _ in found})
    names = dict.fromkeys(name for _, values in found for name in values)
    return {
        name: {
            seed: statistics.fmean(values[name] for other, values in found if other == seed) for seed in seeds
        }
        for name in names
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
    losses = {id(one): _losses(one, objective) for one in configurations}
    left = sorted(configurations, key=lambda one: losses[id(one)])
    if len(objective) == 1:
        return [left]
    fronts = []
    while left:
        front = [
            one for one in left if not any(_dominates(losses[id(other)], losses[id(one)]) for other in left)
        ]
        fronts.append(front)
        left = [one for one in left if all(one is not other for other in front)]
    return fronts


def _losses(one: Configuration, objective: Sequence[str]) -> tuple[float, ...]:
    """Means with less being better; what was not measured comes last."""
    means = [(name, one.mean(name)) for name in objective]
    return tuple(
        math.inf if mean is None else -mean if higher_is_better(name) else mean for name, mean in means
    )


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))


def _has_front(sweep: SweepRecord, one: Configuration, first: Configuration) -> bool:
    # What was only searched is not compared with what was confirmed.
    is_like = (one.stage, one.num_missing) == (first.stage, first.num_missing)
    return len(sweep.objective) > 1 and one.is_complete and is_like


def _notes(
    sweep: SweepRecord,
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
    if best.stage == "confirm":
        again = sorted({trial.seed for trial in best.searched} & {trial.seed for trial in best.trials})
        if again:
            notes.append(f"seed {again[0]} was used in the search too, so its value is not fresh")
        if len(of_space) > 1:
            notes.append(f"chosen among {len(of_space)} finalists by these numbers, over seeds fresh to them")
    if {len(best.seeds), len(baseline.seeds) if baseline else len(best.seeds)} == {1}:
        notes.append("one seed: how much the values vary between seeds is not known")
    if sweep.status == "running":
        notes.append("the sweep still runs")
    return notes
