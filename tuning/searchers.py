"""Source of a sweep's trials: points that are fixed beforehand, then Optuna's suggestions."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from langpose_dist.metrics.table import higher_is_better
from langpose_dist.report.sweep import TrialRecord
from tuning.settings import Sweep
from tuning.trial import new_trial, to_tune


def fixed_trials(sweep: Sweep) -> list[TrialRecord]:
    """Trials of the search stage that are known before it starts, in order.

    With Optuna that is the baseline alone.
    """
    settings = sweep.settings
    points: list[Mapping[str, Any] | None] = [None] if settings.baseline else []
    if settings.searcher != "optuna":
        points += sweep.space.points(settings.searcher, settings.num_trials, settings.seed)
    own = (sweep.config.seed,)
    seeds = own if settings.has_confirm_stage else settings.seeds or own
    seeded = ((point, seed) for point in points for seed in seeds)
    return [new_trial(number, seed, point, settings.resources) for number, (point, seed) in enumerate(seeded)]


class Suggestions:
    """Optuna's suggestions; each depends on the sweep's seed, its number and the trials that ended before.

    A trial that was stopped early counts with its last value.
    """

    def __init__(self, sweep: Sweep, numbers: Sequence[int]) -> None:
        self._sweep = sweep
        self._numbers = list(numbers)
        self._objective = sweep.settings.objective
        self._asked: dict[int, optuna.Trial] = {}
        """The sweep's number of a trial -> Optuna's trial."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=["maximize" if higher_is_better(name) else "minimize" for name in self._objective]
        )

    @property
    def num_left(self) -> int:
        """Trials still to suggest."""
        return len(self._numbers)

    def remember(self, trial: TrialRecord) -> None:
        """Have Optuna know a suggestion of an earlier attempt, and its value if it has ended."""
        self._study.enqueue_trial(self._sweep.space.encode(trial.params))
        self._ask(trial.number)
        if trial.status in ("finished", "stopped"):
            self.tell(trial.number, trial.evaluations[-1].metrics)
        elif trial.status == "diverged":
            self.tell(trial.number, None)

    def next(self) -> TrialRecord:
        """Suggest the next trial."""
        number = self._numbers.pop(0)
        sweep = self._sweep
        return new_trial(number, sweep.config.seed, self._ask(number), sweep.settings.resources)

    def tell(self, number: int, result: Mapping[str, Any] | None) -> None:
        """Have Optuna know the last values of a trial; ``None`` if it failed."""
        if number not in self._asked:  # fixed beforehand
            return
        values = [float((result or {}).get(name, math.nan)) for name in self._objective]
        if all(map(math.isfinite, values)):
            self._study.tell(self._asked[number], values)
        else:
            self._study.tell(self._asked[number], state=TrialState.FAIL)

    def _ask(self, number: int) -> dict[str, Any]:
        seed = np.random.SeedSequence([self._sweep.settings.seed, number]).generate_state(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of multivariate
            self._study.sampler = optuna.samplers.TPESampler(multivariate=True, seed=int(seed[0]))
        self._asked[number] = self._study.ask()
        return self._sweep.space.suggest(self._asked[number])


class PlannedSearcher(Searcher):
    """Gives Ray Tune the trials of a stage, one after another: the known ones, then the suggestions."""

    def __init__(self, trials: Sequence[TrialRecord], suggestions: Suggestions, output: Path) -> None:
        super().__init__()
        self._trials = list(trials)
        self._suggestions = suggestions
        self._output = output
        self._numbers: dict[str, int] = {}
        """Tune's name of a trial -> the sweep's number."""

    @property
    def num_left(self) -> int:
        """Trials still to start."""
        return len(self._trials) + self._suggestions.num_left

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Configuration of the next trial."""
        trial = self._trials.pop(0) if self._trials else self._suggestions.next()
        self._numbers[trial_id] = trial.number
        return to_tune(trial, self._output)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learn from a trial that has ended."""
        self._suggestions.tell(self._numbers[trial_id], None if error else result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a resumed sweep reads the records of its trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing; see ``save``."""
