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

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from langpose_dist.report.sweep.numbers import common_step
from langpose_dist.report.sweep.records import Dimension, SweepRecord, TrialRecord

MIN_CONFIGURATIONS = 8
"""With fewer nothing is computed."""
_NUM_SHUFFLES = 19
"""The largest of 19 is exceeded by chance once in 20 times."""
_NUM_TREES = 32
_SEED = 0


@dataclass(frozen=True)
class Share:
    """Share of the variance of the values that a parameter explains by itself."""

    key: str
    share: float
    """0 to 1."""
    by_chance: float
    """The largest share of 19 with the values shuffled: what is not above it may be chance."""

    @property
    def is_shown(self) -> bool:
        """True if the share is above what chance gives, once in 20 times for each parameter."""
        return self.share > self.by_chance


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Importance of all parameters for one metric."""

    metric: str
    shares: tuple[Share, ...]
    """Largest first; empty if they were not computed."""
    step: int
    """Step at which the values were compared."""
    num_configurations: int
    left_out: Mapping[str, str]
    """Parameter -> why it has no share."""
    reason: str
    """Why nothing was computed; empty if it was."""


@dataclass(frozen=True)
class Points:
    """The search's configurations at the highest step that all of them reached."""

    step: int
    params: list[Mapping[str, Any]]
    values: list[float]
    """Values of the metric, averaged over the seeds of a configuration."""


def comparable_points(trials: Sequence[TrialRecord], metric: str) -> Points:
    """Collect the search's configurations at the highest step that all of them reached.

    Trials that failed, that have not been evaluated yet, and the baseline are left out.
    """
    searched = (trial for trial in trials if trial.stage == "search" and not trial.is_baseline)
    found = [trial for trial in searched if not trial.is_lost and trial.steps_with([metric])]
    step = common_step(found, [metric])
    groups: dict[str, list[TrialRecord]] = {}
    for trial in found if step else ():
        groups.setdefault(repr(sorted(trial.params.items())), []).append(trial)
    return Points(
        step,
        [group[-1].params for group in groups.values()],
        [statistics.fmean(trial.values_at(step)[metric] for trial in group) for group in groups.values()],
    )


def find_importance(sweep: SweepRecord, trials: Sequence[TrialRecord], metric: str) -> Importance:
    """Work out the importance of each parameter for an objective, from ``comparable_points``."""
    points = comparable_points(trials, metric)
    dimensions = [
        one for one in sweep.dimensions if len({repr(point[one.key]) for point in points.params}) > 1
    ]
    reason = _why_not(points)
    return Importance(
        metric=metric,
        shares=() if reason else _shares(dimensions, points),
        step=points.step,
        num_configurations=len(points.params),
        left_out={one.key: "has only one value" for one in sweep.dimensions if one not in dimensions},
        reason=reason,
    )


def _why_not(points: Points) -> str:
    if len(points.params) < MIN_CONFIGURATIONS:
        return f"fewer than {MIN_CONFIGURATIONS} configurations that can be compared ({len(points.params)})"
    return "all configurations have the same value" if len(set(points.values)) < 2 else ""


def _shares(dimensions: Sequence[Dimension], points: Points) -> tuple[Share, ...]:
    distributions = {dimension.key: _distribution(dimension) for dimension in dimensions}
    encoded = [
        {dimension.key: _encode(dimension, point[dimension.key]) for dimension in dimensions}
        for point in points.params
    ]

    def fit(values: Sequence[float]) -> dict[str, float]:
        study = optuna.create_study()
        study.add_trials(
            optuna.trial.create_trial(params=params, distributions=distributions, value=value)
            for params, value in zip(encoded, values, strict=True)
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_NUM_TREES, seed=_SEED)
        return {key: float(share) for key, share in evaluator.evaluate(study).items()}

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it has a line for each study
    shares = fit(points.values)
    generator, shuffled = random.Random(_SEED), list(points.values)
    by_chance = dict.fromkeys(distributions, 0.0)
    for _ in range(_NUM_SHUFFLES):
        generator.shuffle(shuffled)
        by_chance = {key: max(by_chance[key], share) for key, share in fit(shuffled).items()}
    found = [Share(key, shares[key], by_chance[key]) for key in distributions]
    return tuple(sorted(found, key=lambda share: -share.share))


def _encode(dimension: Dimension, value: Any) -> Any:
    """Value on the scale it was drawn on, which fANOVA does not do itself; listed ones by their index."""
    if not dimension.is_range:
        return dimension.values.index(value)
    return math.log(value) if dimension.kind == "log_uniform" else value


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.is_range:
        low, high = (_encode(dimension, end) for end in dimension.values)
        is_integer = dimension.kind == "integer"
        return IntDistribution(int(low), int(high)) if is_integer else FloatDistribution(low, high)
    indices = range(len(dimension.values))
    is_numeric = all(type(value) in (int, float) for value in dimension.values)
    is_ordered = is_numeric and sorted(dimension.values) == [*dimension.values]
    return IntDistribution(0, indices[-1]) if is_ordered else CategoricalDistribution(indices)
