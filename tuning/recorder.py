"""The records of a sweep's trials: plain JSON, for the report and for the next attempt."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from langpose_dist.host.atomic import replace_text
from langpose_dist.report.sweep.records import FORMAT, TRIAL_FILE
from langpose_dist.runs.status import read_reason
from tuning.schedulers import rungs
from tuning.settings import Sweep
from tuning.trial import ENDED, STEP, TrialPlan, trial_folder

_SILENT = "its process died without reporting an error"
_DEAD = "worker process has died"
_OUT_OF_MEMORY = "running low on memory"
"""In Ray's words for the end of a process."""

Record = Mapping[str, Any]


class Recorder(tune.Callback):
    """Keeps ``trial.json`` of each trial, and tells of changes.

    Args:
        sweep: What the trials belong to.
        on_change: Called with a record that has changed.
        on_end: Called with the record of a trial that has ended for now.
    """

    def __init__(
        self, sweep: Sweep, on_change: Callable[[Record], Any], on_end: Callable[[Record], Any]
    ) -> None:
        self.look: Callable[[], Any] = lambda: None
        """Called in each round of Tune's loop."""
        self._sweep = sweep
        self._output = Path(sweep.config.output)
        self._rungs = rungs(sweep)
        self._on_change = on_change
        self._on_end = on_end
        self._trials: Sequence[Trial] = ()
        self._started: dict[str, float] = {}
        """Trial -> when it got its devices, or was last heard of."""

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """A round of Tune's loop begins."""
        self._trials = trials
        self.look()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has got its devices, for the first time or again."""
        record = self._read(trial)
        self._started[record["trial_id"]] = time.monotonic()
        self._write(record | {"status": "running", "reason": ""})

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has reported an evaluation or its end; those of earlier attempts are known."""
        record = self._add_seconds(self._read(trial))
        is_new = result[STEP] > record[STEP]
        metrics = {
            name: value
            for name, value in result.items()
            if "/" in name and isinstance(value, float | int) and math.isfinite(value)
        }
        if metrics and is_new:
            record["evaluations"].append({STEP: result[STEP], "metrics": metrics})
            record[STEP] = result[STEP]
            record["rung"] = max((rung for rung in self._rungs if rung <= result[STEP]), default=None)
        if result.get(ENDED) == "diverged":
            record |= {"status": "diverged", "reason": result["reason"]}
        self._write(record)
        if is_new and ENDED not in result:  # else on_trial_complete follows
            self._on_change(record)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended or was stopped."""
        record = self._add_seconds(self._read(trial), ends=True)
        if record["status"] != "diverged":
            is_whole = record[STEP] >= (self._sweep.config.train.max_steps or math.inf)
            reason = "" if is_whole else f"stopped by the scheduler after step {record[STEP]}"
            record |= {"status": "finished" if is_whole else "stopped", "reason": reason}
        self._end(record)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed and is started again."""
        record = self._failed(trial) | {"status": "pending"}
        self._write(record)
        self._on_change(record)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed once too often."""
        self._end(self._failed(trial) | {"status": "failed"})

    def interrupt(self) -> int:
        """Mark the trials that have not ended when the loop has; returns how many."""
        count = 0
        for trial in self._trials:
            record = self._add_seconds(self._read(trial), ends=True)
            if record["status"] in ("running", "pending"):
                self._end(record | {"status": "interrupted", "reason": "the sweep was interrupted"})
                count += 1
        self._trials = ()
        return count

    def _failed(self, trial: Trial) -> dict[str, Any]:
        record = self._add_seconds(self._read(trial), ends=True)
        return record | {"failures": record["failures"] + 1, "reason": self._reason(trial)}

    def _reason(self, trial: Trial) -> str:
        """Reason of a failure in the training's own words, else in Ray's."""
        told = read_reason(trial_folder(self._output, TrialPlan.from_config(trial.config).trial_id))
        if told:
            return told
        # Tune's own copy, which it brings to the storage later than it calls back.
        with contextlib.suppress(OSError):
            if trial.error_file is not None:
                return explain(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
        return _SILENT

    def _end(self, record: Record) -> None:
        self._write(record)
        self._on_change(record)
        self._on_end(record)

    def _read(self, trial: Trial) -> dict[str, Any]:
        plan = TrialPlan.from_config(trial.config)
        resources = self._sweep.settings.resources
        fresh = {
            "format": FORMAT,
            "trial_id": plan.trial_id,
            "number": plan.number,
            "stage": plan.stage,
            "is_baseline": plan.is_baseline,
            "params": dict(plan.params),
            "seed": plan.seed,
            "status": "pending",
            "reason": "",
            STEP: 0,
            "rung": None,
            "failures": 0,
            "seconds": 0.0,
            "num_devices": resources.workers,
            "device": "GPU" if resources.gpus else "CPU",
            "evaluations": [],
        }
        with contextlib.suppress(OSError, ValueError):
            path = trial_folder(self._output, plan.trial_id) / TRIAL_FILE
            fresh |= json.loads(path.read_text(encoding="utf-8"))
        return fresh

    def _add_seconds(self, record: dict[str, Any], *, ends: bool = False) -> dict[str, Any]:
        now = time.monotonic()
        started = self._started.pop(record["trial_id"], None)
        if started is not None:
            record["seconds"] += now - started
            if not ends:
                self._started[record["trial_id"]] = now
        return record

    def _write(self, record: Record) -> None:
        folder = trial_folder(self._output, record["trial_id"])
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(folder / TRIAL_FILE, json.dumps(record, indent=2))


def explain(errors: str) -> str:
    """Describe in one line why a trial ended the last time.

    Args:
        errors: Tune's file of a trial's errors, oldest first.
    """
    lines = errors.rpartition("\nFailure # ")[2].strip().splitlines()
    if any(_OUT_OF_MEMORY in line for line in lines):
        return "Ray ended it: its node ran low on memory; raise sweep.resources.cpus, so that fewer run there"
    if not lines or any(_DEAD in line for line in lines):
        return _SILENT
    return lines[-1][:300]
