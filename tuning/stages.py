"""One stage of a sweep on Ray Tune: its trials that have not ended yet, from where they stand.

Ray Tune starts from nothing at every attempt. The trials' records say which of them have ended, their folders
where the others resume.
"""

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from langpose_dist.report.sweep import TrialRecord, read_sweep
from langpose_dist.report.sweep.records import TRIAL_FILE
from tuning.cluster import node_resources
from tuning.folder import STATE_FOLDER
from tuning.ranks import run_trial, trial_resources
from tuning.recorder import Recorder
from tuning.schedulers import build_scheduler
from tuning.searchers import PlannedSearcher, Suggestions
from tuning.settings import Sweep
from tuning.stopping import Stopping, SweepInterrupted
from tuning.trial import from_tune

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
        self._looked_at = 0.0

    def search(self, trials: Sequence[TrialRecord], *, num_suggested: int) -> None:
        """Run the search stage: fixed trials, then those that Optuna suggests.

        Raises:
            SweepInterrupted: If the sweep was asked to stop, or no node is left.
        """
        memory = self._output / STATE_FOLDER / "search-scheduler.jsonl"
        memory.parent.mkdir(exist_ok=True)
        numbers = range(len(trials), len(trials) + num_suggested)
        self._run("search", trials, numbers, build_scheduler(self._sweep, memory))

    def confirm(self, trials: Sequence[TrialRecord]) -> None:
        """Run the confirm stage: fixed trials, none of which is stopped early.

        Raises:
            SweepInterrupted: As in ``search``.
        """
        self._run("confirm", trials, (), FIFOScheduler())

    def _run(
        self, stage: str, trials: Sequence[TrialRecord], suggested: Sequence[int], scheduler: TrialScheduler
    ) -> None:
        searcher = self._left_to_do(trials, suggested)
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
        is_asked = self._stopping.reason is not None  # maybe in the last moment of a stage
        if num_unfinished or is_asked or len(ended.trials) < total:
            raise SweepInterrupted(self._stopping.reason or "a signal")

    def _left_to_do(self, trials: Sequence[TrialRecord], suggested: Sequence[int]) -> PlannedSearcher:
        """Trials of a stage that have not ended; one whose record is damaged is left out."""
        records = {trial.number: trial for trial in read_sweep(self._output).trials}
        known = [records[number] for number in suggested if number in records]
        begun = {path.parent.name for path in self._output.glob(f"trials/*/{TRIAL_FILE}")}
        left = [
            trial
            for trial in [*(records.get(trial.number, trial) for trial in trials), *known]
            if trial.status not in DONE and (trial.number in records or trial.trial_id not in begun)
        ]
        fresh = [number for number in suggested if f"{number:03d}" not in begun]
        suggestions = Suggestions(self._sweep, fresh)
        for trial in known:
            suggestions.remember(trial)
        return PlannedSearcher(left, suggestions, self._output)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looked_at + _LOOK_EVERY_S:
            return
        self._looked_at = now
        self._stopping.look()
        if not node_resources():
            self._stopping.ask("no node of the Ray cluster is left")


def _name(trial: Trial) -> str:
    return from_tune(trial.config).trial_id
