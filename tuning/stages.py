"""One stage of a sweep on Ray Tune: its trials that have not ended yet, from where they stand.

Ray Tune starts from nothing at every attempt. The trials' records say which of them have ended, their folders
where the others resume.
"""

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from langpose_dist.report.sweep import TrialRecord, read_sweep
from langpose_dist.report.sweep.records import TRIAL_FILE
from tuning.cluster import SlotWatch
from tuning.folder import STATE_FOLDER
from tuning.ranks import run_trial, trial_resources
from tuning.recorder import Recorder
from tuning.schedulers import build_scheduler
from tuning.searchers import PlannedSearcher, Suggestions
from tuning.settings import Sweep
from tuning.stopping import Stopping, SweepInterrupted
from tuning.trial import TrialPlan, trial_folder

DONE = ("finished", "stopped", "diverged")
"""States of a trial that no attempt trains again."""
_LOOK_EVERY_S = 5.0
_TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints a banner even when told not to
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # its state is not used
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "60",
}


class SweepStuck(Exception):
    """The sweep cannot continue by itself."""


class StageRunner:
    """Runs the stages of a sweep in this process, on the Ray cluster that it has joined.

    Args:
        sweep: Its ``train.max_steps`` is set, its output absolute.
        max_concurrent: Trials at a time.
        stopping: Requests to end early.
        recorder: Keeps the trials' records.
    """

    def __init__(self, sweep: Sweep, *, max_concurrent: int, stopping: Stopping, recorder: Recorder) -> None:
        self._sweep = sweep
        self._output = Path(sweep.config.output)
        self._max_concurrent = max_concurrent
        self._stopping = stopping
        self._recorder = recorder
        self._slots = SlotWatch(sweep.settings.resources)
        self._looked_at = 0.0

    def search(self, plans: Sequence[TrialPlan], *, num_suggested: int) -> None:
        """Run the search stage: fixed trials, then those that Optuna suggests.

        Raises:
            SweepInterrupted: If the sweep was asked to stop.
            SweepStuck: If no node has a free slot for a trial.
        """
        memory = self._output / STATE_FOLDER / "search-scheduler.jsonl"
        memory.parent.mkdir(exist_ok=True)
        numbers = range(len(plans), len(plans) + num_suggested)
        self._run("search", plans, numbers, build_scheduler(self._sweep, memory))

    def confirm(self, plans: Sequence[TrialPlan]) -> None:
        """Run the confirm stage: fixed trials, none of which is stopped early.

        Raises:
            SweepInterrupted, SweepStuck: As in ``search``.
        """
        self._run("confirm", plans, (), FIFOScheduler())

    def _run(
        self, stage: str, plans: Sequence[TrialPlan], suggested: Sequence[int], scheduler: TrialScheduler
    ) -> None:
        searcher = self._left_to_do(plans, suggested)
        total = searcher.num_left
        if total == 0:
            return
        os.environ.update(_TUNE_SETTINGS)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the recorder says it all, and better
        state = self._output / STATE_FOLDER
        shutil.rmtree(state / stage, ignore_errors=True)
        self._recorder.look = self._look
        try:
            with self._stopping.in_loop():
                ended = tune.run(
                    run_trial,
                    name=stage,
                    resources_per_trial=trial_resources(self._sweep.settings.resources),
                    num_samples=total,
                    search_alg=searcher,
                    scheduler=scheduler,
                    max_concurrent_trials=self._max_concurrent,
                    max_failures=self._sweep.settings.max_failures,
                    raise_on_failed_trial=False,
                    callbacks=[self._recorder],
                    storage_path=str(state),
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                    verbose=0,
                )
        finally:
            num_unfinished = self._recorder.interrupt()
        if self._slots.problem is not None:
            raise SweepStuck(self._slots.problem)
        is_asked = self._stopping.reason is not None  # maybe in the last moment of a stage
        if num_unfinished or is_asked or len(ended.trials) < total:
            raise SweepInterrupted(self._stopping.reason or "a signal")

    def _left_to_do(self, plans: Sequence[TrialPlan], suggested: Sequence[int]) -> PlannedSearcher:
        """Trials of a stage that have not ended; one whose record is damaged is left out."""
        records = {trial.number: trial for trial in read_sweep(self._output).trials}
        left = [plan for plan in plans if not self._is_over(plan.number, records)]
        known = [records[number] for number in suggested if number in records]
        left += [_plan_of(record) for record in known if record.status not in DONE]
        fresh = [
            number for number in suggested if number not in records and not self._is_over(number, records)
        ]
        suggestions = Suggestions(self._sweep, fresh)
        for record in known:
            suggestions.remember(record)
        return PlannedSearcher(left, suggestions, self._output)

    def _is_over(self, number: int, records: Mapping[int, TrialRecord]) -> bool:
        if number in records:
            return records[number].status in DONE
        return (trial_folder(self._output, TrialPlan(number, 0).trial_id) / TRIAL_FILE).exists()

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looked_at + _LOOK_EVERY_S:
            return
        self._looked_at = now
        self._stopping.look()
        self._slots.look()
        if self._slots.problem is not None:
            self._stopping.ask("no node has a free slot for a trial")


def _plan_of(record: TrialRecord) -> TrialPlan:
    return TrialPlan(record.number, record.seed, record.params, record.is_baseline, record.stage)


def _name(trial: Trial) -> str:
    plan: dict[str, Any] = trial.config
    return TrialPlan.from_config(plan).trial_id
