"""Early stopping: Ray Tune's schedulers, with a memory that outlives the driver.

A resumed sweep gives Tune a fresh scheduler. It is shown all that the one before it saw, in order.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from langpose_dist.host.atomic import write_text
from langpose_dist.metrics.table import higher_is_better
from langpose_dist.runs.metrics import follow_metrics
from tuning.settings import Sweep
from tuning.trial import STEP, from_tune


@dataclass(frozen=True)
class _KnownTrial:
    """Stands for a trial to the inner scheduler, in this attempt and in earlier ones."""

    trial_id: str


class RememberingScheduler(FIFOScheduler):
    """Asks another scheduler, and writes down each answer.

    A result that comes again, since trial or driver were restarted, gets the answer of the first time. A
    value that is not finite is not compared. Nor is the baseline, which always trains to its end.

    Args:
        inner: Decides on results alone, and equally on equal ones.
        metric: What it decides by.
        path: JSON lines of what it saw and decided.
    """

    def __init__(self, inner: TrialScheduler, metric: str, path: Path) -> None:
        super().__init__()
        self._inner: Any = inner
        self._metric = metric
        self._path = path
        self._trials: set[str] = set()
        self._decisions: dict[tuple[str, int], str] = {}
        lines = read_decisions(path)
        for line in lines:
            self._ask(line["trial_id"], line[STEP], line["value"])
            self._decisions[line["trial_id"], line[STEP]] = line["decision"]
        if lines:  # what comes next must not be written behind half a line
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide whether the trial continues."""
        record = from_tune(trial.config)
        value = result.get(self._metric, math.nan)
        if record.is_baseline or not math.isfinite(value):
            return TrialScheduler.CONTINUE
        key = record.trial_id, int(result[STEP])
        if key not in self._decisions:
            self._decisions[key] = self._ask(*key, value)
            line = {"trial_id": key[0], STEP: key[1], "value": value, "decision": self._decisions[key]}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return self._decisions[key]

    def _ask(self, trial_id: str, step: int, value: float) -> str:
        trial = _KnownTrial(trial_id)
        if trial_id not in self._trials:
            self._trials.add(trial_id)
            self._inner.on_trial_add(None, trial)
        return self._inner.on_trial_result(None, trial, {STEP: step, self._metric: value})


def read_decisions(path: Path) -> list[dict[str, Any]]:
    """Results and decisions of a scheduler, oldest first; a line cut off by a crash is left out."""
    return [line for line, _ in follow_metrics(path, 0)]


def build_scheduler(sweep: Sweep, path: Path) -> TrialScheduler:
    """Scheduler of a sweep's search, with its memory in a file; the sweep's ``train.max_steps`` is set."""
    settings, training = sweep.settings.scheduler, sweep.config.train
    if settings.name == "none":
        return FIFOScheduler()
    metric = settings.metric or sweep.settings.objective[0]
    assert training.max_steps is not None
    grace = settings.grace_evaluations * (training.evaluate_every or training.max_steps)
    inner = AsyncHyperBandScheduler(
        time_attr=STEP,
        metric=metric,
        mode="max" if higher_is_better(metric) else "min",
        grace_period=grace,
        max_t=training.max_steps,
        reduction_factor=settings.reduction_factor,
    )
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
