"""Which parameters of a sweep matter: functional ANOVA, beside what chance alone gives.

fANOVA fits a forest to all values and tells which share of their variance each parameter explains by itself.
Optuna's other evaluator, PED-ANOVA, asks only what the best tenth has in common, which of some ten trials is
one or two. A forest explains noise as well, so the same is done with the values shuffled among the trials.
"""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langpose_dist.report.sweep.records import Dimension, SweepRecord, TrialRecord, is_number

MIN_CONFIGURATIONS = 8
"""With fewer nothing is computed."""
_NUM_SHUFFLES = 19
"""The largest of 19 is exceeded by chance once in 20 times."""
_NUM_TREES = 32
_SEED = 0


@dataclass(frozen=True)
class Share:
    """How much of the variance of the values a parameter explains by itself."""

    key: str
    share: float
    """0 to 1."""
    by_chance: float
    """The largest share of 19 with the values shuffled: what is not above it may be chance."""

    @property
    def is_shown(self) -> bool:
        """Whether the share is above what chance gives, once in 20 times for each parameter."""
        return self.share > self.by_chance


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of all parameters for one metric."""

    metric: str
    shares: tuple[Share, ...]
    """Largest first; empty if they were not computed."""
    step: int
    """At which the values were compared."""
    num_configurations: int
    left_out: Mapping[str, str]
    """Parameter -> why it has no share."""
    reason: str
    """Why nothing was computed; empty if it was."""


def find_importance(sweep: SweepRecord, trials: Sequence[TrialRecord], metric: str) -> Importance:
    """Compare the search's configurations at the highest step that all of them reached.

    Trials that failed, that have not been evaluated yet, and the baseline are left out. Seeds of one
    configuration are averaged.

    Args:
        sweep: Gives the space.
        trials: Of all stages.
        metric: Of the objective.
    """
    found = [
        trial
        for trial in trials
        if trial.stage == "search"
        and not trial.is_baseline
        and not trial.is_lost
        and trial.steps_with([metric])
    ]
    common = [set(trial.steps_with([metric])) for trial in found]
    step = max(set.intersection(*common), default=0) if common else 0
    values: dict[str, list[float]] = {}
    params: dict[str, Mapping[str, Any]] = {}
    for trial in found if step else ():
        key = repr(sorted(trial.params.items()))
        params[key] = trial.params
        values.setdefault(key, []).append(trial.values_at(step)[metric])
    points, targets = list(params.values()), [statistics.fmean(values[key]) for key in params]
    dimensions, left_out = _usable(sweep.dimensions, points)
    reason = _why_not(sweep, len(points), bool(dimensions), targets)
    shares: tuple[Share, ...] = ()
    if not reason:
        encoded = [[_encode(dimension, point[dimension.key]) for dimension in dimensions] for point in points]
        keys = [dimension.key for dimension in dimensions]
        shares = _shares(keys, [_distribution(dimension) for dimension in dimensions], encoded, targets)
    return Importance(
        metric=metric,
        shares=shares,
        step=step,
        num_configurations=len(points),
        left_out=left_out,
        reason=reason,
    )


def _usable(
    dimensions: Sequence[Dimension], points: Sequence[Mapping[str, Any]]
) -> tuple[list[Dimension], dict[str, str]]:
    usable, left_out = [], {}
    for dimension in dimensions:
        if not all(dimension.key in point for point in points):
            left_out[dimension.key] = "not in use in every configuration"
        elif not all(_is_inside(dimension, point[dimension.key]) for point in points):
            left_out[dimension.key] = "has values outside of the space"
        elif len({repr(point[dimension.key]) for point in points}) < 2:
            left_out[dimension.key] = "has only one value"
        else:
            usable.append(dimension)
    return usable, left_out


def _why_not(sweep: SweepRecord, num_points: int, has_dimensions: bool, targets: Sequence[float]) -> str:
    if sweep.scheduler.name == "pbt":
        return "population-based training changes parameters while a trial trains"
    if num_points < MIN_CONFIGURATIONS:
        return f"fewer than {MIN_CONFIGURATIONS} configurations that can be compared ({num_points})"
    if not has_dimensions:
        return "no parameter is in use in every configuration"
    return "all configurations have the same value" if len(set(targets)) < 2 else ""


def _is_inside(dimension: Dimension, value: Any) -> bool:
    if not dimension.is_range:
        return value in dimension.values
    return is_number(value) and dimension.low <= value <= dimension.high


def _encode(dimension: Dimension, value: Any) -> Any:
    """Values as they were drawn: evenly on the scale of the dimension, listed ones by their place."""
    if not dimension.is_range:
        return dimension.values.index(value)
    return math.log(value) if dimension.is_log else value


def _distribution(dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.is_range:
        low, high = (_encode(dimension, end) for end in (dimension.low, dimension.high))
        if dimension.kind == "integer":
            return IntDistribution(int(low), int(high))
        return FloatDistribution(low, high)
    places = range(len(dimension.values))
    if all(is_number(value) for value in dimension.values) and sorted(dimension.values) == [
        *dimension.values
    ]:
        return IntDistribution(0, places[-1])
    return CategoricalDistribution(places)


def _shares(
    keys: Sequence[str],
    distributions: Sequence[Any],
    encoded: Sequence[Sequence[Any]],
    targets: Sequence[float],
) -> tuple[Share, ...]:
    shares = _fit(keys, distributions, encoded, targets)
    generator, shuffled = random.Random(_SEED), list(targets)
    by_chance = dict.fromkeys(keys, 0.0)
    for _ in range(_NUM_SHUFFLES):
        generator.shuffle(shuffled)
        for key, share in _fit(keys, distributions, encoded, shuffled).items():
            by_chance[key] = max(by_chance[key], share)
    found = [Share(key, shares[key], by_chance[key]) for key in keys]
    return tuple(sorted(found, key=lambda share: -share.share))


def _fit(
    keys: Sequence[str],
    distributions: Sequence[Any],
    encoded: Sequence[Sequence[Any]],
    targets: Sequence[float],
) -> dict[str, float]:
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every study
    try:
        study = optuna.create_study()
    finally:
        optuna.logging.set_verbosity(before)
    named = dict(zip(keys, distributions, strict=True))
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(zip(keys, point, strict=True)), distributions=named, value=target
        )
        for point, target in zip(encoded, targets, strict=True)
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_NUM_TREES, seed=_SEED)
    return {key: float(share) for key, share in evaluator.evaluate(study).items()}
