"""Where a sweep's trials come from: points that are fixed beforehand, or Optuna's suggestions."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from tuning.schedulers import mode_of
from tuning.settings import Sweep
from tuning.space import Space
from tuning.trial import TrialPlan


def search_plans(sweep: Sweep) -> list[TrialPlan]:
    """The trials of the search stage that are known before it starts, in their order.

    With Optuna that is the baseline alone.
    """
    settings = sweep.settings
    points: list[Mapping[str, Any] | None] = [None] if settings.baseline else []
    if settings.searcher != "optuna":
        points += sweep.space.points(settings.searcher, settings.num_trials, settings.seed)
    seeds = search_seeds(sweep)
    return [
        TrialPlan(number=number, seed=seed, params=point or {}, is_baseline=point is None)
        for number, (point, seed) in enumerate((point, seed) for point in points for seed in seeds)
    ]


def search_seeds(sweep: Sweep) -> Sequence[int]:
    """Seeds of each configuration in the search stage."""
    own = (sweep.config.seed,)
    return own if sweep.settings.has_confirm_stage else sweep.settings.seeds or own


class OptunaSearcher(OptunaSearch):
    """Optuna's suggestions, after some trials that are fixed.

    A trial that was stopped early counts with its last value, as Tune has it.

    Args:
        sweep: Its space and objective.
        first: Trials in front of the suggestions.
    """

    def __init__(self, sweep: Sweep, first: Sequence[TrialPlan]) -> None:
        objective = list(sweep.settings.objective)
        modes = [mode_of(metric) for metric in objective]
        is_single = len(objective) == 1
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            # Of group, which conditional spaces need.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(multivariate=True, group=True, seed=sweep.settings.seed)
        super().__init__(
            partial(_suggest, sweep.space),
            metric=objective[0] if is_single else objective,
            mode=modes[0] if is_single else modes,
            sampler=sampler,
        )
        self._first = list(first)
        self._output = sweep.config.output
        self._train_seed = sweep.config.seed
        self._number = 0
        self._fixed: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The configuration of the next trial."""
        if self._number < len(self._first):
            plan = self._first[self._number]
            self._fixed.add(trial_id)
        else:
            suggested = super().suggest(trial_id)
            if suggested is None:
                return None
            plan = TrialPlan(number=self._number, seed=self._train_seed, params=suggested["params"])
        self._number += 1
        return plan.to_config(self._output)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial has told an evaluation."""
        if trial_id not in self._fixed:
            super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has ended."""
        if trial_id not in self._fixed:
            super().on_trial_complete(trial_id, result, error)  # pyright: ignore[reportArgumentType]


def _suggest(space: Space, trial: Any) -> dict[str, Any]:
    return {"params": space.suggest(trial)}
