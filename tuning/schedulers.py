"""Which trials go on: Ray Tune's schedulers, with a memory of what they saw that outlives the driver.

Tune keeps trials and searcher through a restart but gives the scheduler a fresh start: restored, it would
know no rung's values and halve nothing. So what a scheduler saw and decided is kept as JSON lines.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import BasicVariantGenerator

from langpose_dist.host.atomic import replace_text
from langpose_dist.metrics.table import higher_is_better
from tuning.settings import Sweep
from tuning.trial import ENDED, STEP, TrialPlan

_INFINITY = float("inf")
_POPULATION = "population.json"


class PacedScheduler(FIFOScheduler):
    """Lets as many trials run at a time as this attempt has room for, and all of them come to their end.

    Tune restores the limit with which the sweep was first started, be it on another machine, and heeds it for
    new trials alone: all that it restores would start at once.
    """

    max_concurrent: ClassVar[int | None] = None
    """Of this process; what is pickled is of another."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, restored or started again: whatever is restored has been."""
        search = tune_controller._search_alg
        limiter = search if isinstance(search, BasicVariantGenerator) else search.searcher
        if PacedScheduler.max_concurrent is not None:
            limiter.max_concurrent = PacedScheduler.max_concurrent
        if trial.status == Trial.PENDING and not _has_room(tune_controller, trial):
            trial.set_status(Trial.PAUSED)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Who goes on next."""
        found = super().choose_trial_to_run(tune_controller)
        is_waiting = found is not None and found.status == Trial.PAUSED
        return None if is_waiting and not _has_room(tune_controller) else found


class RememberingScheduler(PacedScheduler):
    """Asks another scheduler, and remembers each answer.

    A result that comes again, because a trial or the driver was restarted, gets the answer of the first
    time. A restarted driver shows a fresh scheduler all results again, in their order, before anything new.
    What is no number is no result. The baseline is left out: what all are compared with comes to its end.

    Args:
        inner: Decides on results alone, and equally on equal ones.
        metric: What it decides by.
        path: File of what it saw.
    """

    def __init__(self, inner: TrialScheduler, metric: str, path: Path) -> None:
        super().__init__()
        self._inner = inner
        self._metric = metric
        self._path = path
        self._decisions: dict[tuple[str, int], str] = {}
        self._is_recalled = False  # Tune pickles it as it is now, and restores that

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """All of them are given when it is made."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, restored or started again."""
        super().on_trial_add(tune_controller, trial)
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial failed."""
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial has ended; its last result was decided on already."""

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """A trial was taken away before it ran."""

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Whether the trial goes on."""
        self._recall(tune_controller)
        value = result.get(self._metric, math.nan)
        if not math.isfinite(value) or TrialPlan.from_config(trial.config).is_baseline:
            return TrialScheduler.CONTINUE
        key = trial.trial_id, int(result[STEP])
        if key not in self._decisions:
            decision = self._inner.on_trial_result(tune_controller, trial, result)
            self._decisions[key] = decision
            line = {"trial_id": key[0], STEP: key[1], "value": value, "decision": decision}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return self._decisions[key]

    def debug_string(self) -> str:
        """For people."""
        return self._inner.debug_string()

    def _recall(self, tune_controller: Any) -> None:
        if self._is_recalled:
            return
        self._is_recalled = True
        trials = {trial.trial_id: trial for trial in tune_controller.get_trials()}
        lines = [line for line in read_decisions(self._path) if line["trial_id"] in trials]
        for line in lines:
            result = {STEP: line[STEP], self._metric: line["value"]}
            self._inner.on_trial_result(tune_controller, trials[line["trial_id"]], result)
            self._decisions[line["trial_id"], line[STEP]] = line["decision"]
        # What comes next must not be written behind half a line.
        replace_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))


class RememberingPopulation(PopulationBasedTraining):
    """Population-based training that keeps its trials' scores and its clock through a restart.

    They lie among the files of Tune's own state, and so are of the same moment.

    Args:
        **options: Of Tune's own.
    """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """A trial is new, restored or started again; one that waited for others still does."""
        is_again = trial in self._trial_state
        if not is_again:
            super().on_trial_add(tune_controller, trial)
            self._recall(trial)
        is_waiting = self._trial_state[trial].last_train_time >= self._next_perturbation_sync
        if trial.status == Trial.PENDING and is_waiting:
            if is_again:
                tune_controller._set_trial_status(trial, Trial.PAUSED)
            else:  # Tune comes to know it by the status that it has after this
                trial.set_status(Trial.PAUSED)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Who goes on next."""
        self._release(tune_controller)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Whether the trial goes on, waits or takes over from a better one."""
        if ENDED in result or not math.isfinite(result.get(self._metric or "", math.nan)):
            return TrialScheduler.CONTINUE
        decision = super().on_trial_result(tune_controller, trial, result)
        self._remember()
        return decision

    def _get_new_config(self, trial: Trial, trial_to_clone: Trial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Values for a trial that takes over from a better one; it stays itself."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        step = self._trial_state[trial_to_clone].last_train_time
        config["plan"]["number"] = trial.config["plan"]["number"]
        config["plan"]["origin"] = f"{trial_to_clone.trial_id} at step {step}"
        return config, operations

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """A trial has ended: those that waited for it go on."""
        self._release(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A trial failed: unless it is started again, those that waited for it go on."""
        if trial.status == Trial.ERROR:  # Tune has ended it already, to start it again
            return
        tune_controller.get_live_trials().discard(trial)  # else Tune waits for it at every exchange
        self._release(tune_controller, trial)

    def _release(self, tune_controller: Any, ended: Trial | None = None) -> None:
        """Tune looks only at results for whether all trials have come to the moment of exchange."""
        left = [trial for trial in tune_controller.get_live_trials() if trial != ended]
        if left and all(
            self._trial_state[trial].last_train_time >= self._next_perturbation_sync for trial in left
        ):
            self._next_perturbation_sync += self._perturbation_interval
            self._remember()

    def _recall(self, trial: Trial) -> None:
        path = self._path(trial)
        if not path.exists():  # nothing has been compared yet
            return
        content = json.loads(path.read_text(encoding="utf-8"))
        self._next_perturbation_sync = content["next"]
        state = self._trial_state[trial]
        state.last_result = trial.last_result  # goes with the checkpoint that another takes over
        for name, value in content["trials"].get(trial.trial_id, {}).items():
            setattr(state, name, value)

    def _remember(self) -> None:
        states = {
            trial.trial_id: {
                name: getattr(state, name)
                for name in ("last_score", "last_train_time", "last_perturbation_time")
            }
            for trial, state in self._trial_state.items()
        }
        content = {"next": self._next_perturbation_sync, "trials": states}
        replace_text(self._path(next(iter(self._trial_state))), json.dumps(content))

    @staticmethod
    def _path(trial: Trial) -> Path:
        return Path(trial.local_experiment_path) / _POPULATION


def _has_room(tune_controller: Any, trial: Trial | None = None) -> bool:
    """Whether a trial more may run beside all others."""
    limit = PacedScheduler.max_concurrent
    others = (other for other in tune_controller.get_trials() if other is not trial)
    return limit is None or sum(other.status in (Trial.PENDING, Trial.RUNNING) for other in others) < limit


def read_decisions(path: Path) -> list[dict[str, Any]]:
    """What a scheduler saw and decided, oldest first; a line cut off by a crash is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def build_scheduler(sweep: Sweep, path: Path) -> TrialScheduler:
    """The scheduler of a sweep's search.

    Args:
        sweep: Its ``train.max_steps`` and ``train.evaluate_every`` are set.
        path: File of the scheduler's memory.
    """
    settings, training = sweep.settings.scheduler, sweep.config.train
    metric = settings.metric or sweep.settings.objective[0]
    assert training.max_steps is not None
    grace = settings.grace_evaluations * (training.evaluate_every or training.max_steps)
    options: dict[str, Any] = {"time_attr": STEP, "metric": metric, "mode": mode_of(metric)}
    match settings.name:
        case "asha":
            inner = AsyncHyperBandScheduler(
                **options,
                grace_period=grace,
                max_t=training.max_steps,
                reduction_factor=settings.reduction_factor,
            )
        case "median":
            # Never paused: to be started again costs a trial more than it would gain.
            inner = MedianStoppingRule(**options, grace_period=grace, min_time_slice=_INFINITY)  # pyright: ignore[reportArgumentType]
        case "pbt":
            return RememberingPopulation(
                **options,
                perturbation_interval=grace,
                hyperparam_mutations={"plan": {"params": _domains(sweep.space.to_dict())}},
                quantile_fraction=settings.quantile,
                custom_explore_fn=_Bounds(sweep.space.to_dict()),
                log_config=False,
                synch=True,
            )
        case "none":
            inner = FIFOScheduler()
    return RememberingScheduler(inner, metric, path)


def rungs(sweep: Sweep) -> list[int]:
    """Steps at which ASHA compares trials, lowest first; none for other schedulers."""
    settings, training = sweep.settings.scheduler, sweep.config.train
    if settings.name != "asha":
        return []
    assert training.max_steps is not None
    found = []
    step = settings.grace_evaluations * (training.evaluate_every or training.max_steps)
    while step <= training.max_steps:
        found.append(int(step))
        step *= settings.reduction_factor
    return found


def mode_of(metric: str) -> str:
    """Tune's word for the direction in which a metric improves."""
    return "max" if higher_is_better(metric) else "min"


def _domains(space: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    kinds = {"uniform": tune.uniform, "log_uniform": tune.loguniform, "integer": tune.randint}
    domains: dict[str, Any] = {}
    for key, entry in space.items():
        for kind, arguments in entry.items():
            if kind == "choice":
                domains[key] = list(arguments)
            elif kind in kinds:
                low, high = arguments
                domains[key] = kinds[kind](low, high + (kind == "integer"))
    return domains


class _Bounds:
    """Brings what a mutation moved out of the space back to its border."""

    def __init__(self, space: Mapping[str, Mapping[str, Any]]) -> None:
        self._space = space

    def __call__(self, config: dict[str, Any]) -> dict[str, Any]:
        params = config["plan"]["params"]
        for key, entry in self._space.items():
            for kind, arguments in entry.items():
                if kind in ("uniform", "log_uniform", "integer"):
                    low, high = arguments
                    value = min(max(params[key], low), high)
                    params[key] = round(value) if kind == "integer" else float(value)
        return config
