"""The records of a sweep's trials: plain JSON, for the report and for the next attempt."""

import contextlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from langpose_dist.host.atomic import write_text
from langpose_dist.report.sweep.records import FORMAT, TRIAL_FILE, Evaluation, TrialRecord
from langpose_dist.runs.folder import RunFolder
from tuning.schedulers import rungs
from tuning.settings import Sweep
from tuning.trial import ENDED, STEP, from_tune, trial_folder

_SILENT = "its process died without reporting an error"
_DEAD = "worker process has died"
_OUT_OF_MEMORY = "running low on memory"
"""In Ray's words for the end of a process."""


class Recorder(tune.Callback):
    """Keeps the record of each trial, and tells of changes and of ends, which may be for now."""

    def __init__(
        self, sweep: Sweep, on_change: Callable[[TrialRecord], Any], on_end: Callable[[TrialRecord], Any]
    ) -> None:
        self.look: Callable[[], Any] = lambda: None
        """Called in each round of Tune's loop."""
        self._sweep = sweep
        self._output = Path(sweep.config.output)
        self._rungs = rungs(sweep)
        self._on_change = on_change
        self._on_end = on_end
        self._records: dict[str, TrialRecord] = {}
        self._running_since: dict[str, float] = {}
        """Trial -> when it got its devices, or was last heard of."""

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """A round of Tune's loop begins."""
        self.look()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has got its devices, for the first time or again."""
        record = self._record_of(trial)
        self._running_since[record.trial_id] = time.monotonic()
        self._write(record, status="running", reason="")

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial has reported an evaluation or its end; those of earlier attempts are known."""
        record, step = self._record_of(trial), result[STEP]
        changes: dict[str, Any] = {}
        metrics = {
            name: float(value)
            for name, value in result.items()
            if "/" in name and isinstance(value, float | int) and math.isfinite(value)
        }
        is_new = step > record.step
        if metrics and is_new:
            evaluations = (*record.evaluations, Evaluation(step=step, metrics=metrics))
            rung = max((rung for rung in self._rungs if rung <= step), default=None)
            changes = {"evaluations": evaluations, "step": step, "rung": rung}
        if result.get(ENDED) == "diverged":
            changes |= {"status": "diverged", "reason": result["reason"]}
        record = self._write(record, **changes)
        if is_new and ENDED not in result:  # else on_trial_complete follows
            self._on_change(record)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial has ended or was stopped."""
        record = self._record_of(trial)
        if record.status == "diverged":
            self._end(record)
        elif record.step >= (self._sweep.config.train.max_steps or math.inf):
            self._end(record, status="finished")
        else:
            self._end(record, status="stopped", reason=f"stopped by the scheduler after step {record.step}")

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed and is started again."""
        record = self._record_of(trial)
        reason, failures = self._reason(trial), record.failures + 1
        record = self._write(record, status="pending", reason=reason, failures=failures)
        self._running_since.pop(record.trial_id, None)
        self._on_change(record)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial failed once too often."""
        record = self._record_of(trial)
        self._end(record, status="failed", reason=self._reason(trial), failures=record.failures + 1)

    def interrupt(self) -> int:
        """Mark the trials that have not ended when the loop has; returns how many."""
        left = [record for record in self._records.values() if record.status in ("running", "pending")]
        for record in left:
            self._end(record, status="interrupted", reason="the sweep was interrupted")
        return len(left)

    def _record_of(self, trial: Trial) -> TrialRecord:
        record = from_tune(trial.config)
        return self._records.get(record.trial_id, record)

    def _reason(self, trial: Trial) -> str:
        """Reason of a failure in the training's own words, else in Ray's."""
        told = RunFolder(trial_folder(self._output, self._record_of(trial).trial_id)).read_reason()
        if told:
            return told
        # Tune's own copy, which it brings to the storage later than it calls back.
        with contextlib.suppress(OSError):
            if trial.error_file is not None:
                return explain(Path(trial.error_file).read_text(encoding="utf-8", errors="replace"))
        return _SILENT

    def _end(self, record: TrialRecord, **changes: Any) -> None:
        record = self._write(record, **changes)
        self._running_since.pop(record.trial_id, None)
        self._on_change(record)
        self._on_end(record)

    def _write(self, record: TrialRecord, **changes: Any) -> TrialRecord:
        now = time.monotonic()
        seconds = record.seconds + now - self._running_since.get(record.trial_id, now)
        if record.trial_id in self._running_since:
            self._running_since[record.trial_id] = now
        record = record.model_copy(update={**changes, "seconds": seconds})
        self._records[record.trial_id] = record
        folder = trial_folder(self._output, record.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        content = {"format": FORMAT, **record.model_dump(mode="json")}
        write_text(folder / TRIAL_FILE, json.dumps(content, indent=2))
        return record


def explain(errors: str) -> str:
    """One line that says why a trial ended, from Tune's file of its errors, oldest first."""
    lines = errors.rpartition("\nFailure # ")[2].strip().splitlines()
    if any(_OUT_OF_MEMORY in line for line in lines):
        return "Ray ended it: its node ran low on memory; raise sweep.resources.cpus, so that fewer run there"
    if not lines or any(_DEAD in line for line in lines):
        return _SILENT
    return lines[-1][:300]
