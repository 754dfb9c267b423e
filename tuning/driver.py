"""Drives a sweep on Ray Tune: one stage after another, each of which goes on where it was broken off."""

import contextlib
import logging
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from langpose_dist.config import UserError
from langpose_dist.host.console import say
from langpose_dist.report.sweep.records import TrialRecord, read_sweep
from tuning.cluster import check_places, free_places, node_resources
from tuning.recorder import Recorder, Session
from tuning.schedulers import PacedScheduler, build_scheduler, rungs
from tuning.searchers import OptunaSearcher
from tuning.settings import SchedulerConfig, Sweep
from tuning.state import KeptState
from tuning.stopping import Stopping, SweepInterrupted
from tuning.trial import STATE_FOLDER, TrialPlan, run_trial, trial_folder

_LOOK_SECONDS = 5.0
_LOST_SECONDS = 120.0
"""That a sweep waits for a node to come back when those that are left do not hold a trial."""
_EMPTY_SECONDS = 20.0
"""The same where none is left."""
_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints a banner, whatever it is told
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "60",
}


class SweepStuck(Exception):
    """The sweep cannot go on by itself."""


class Driver:
    """Runs the stages of a sweep in this process, on the Ray cluster that it has joined.

    Args:
        sweep: Its ``train.max_steps`` is set, its output absolute.
        max_concurrent: Trials at a time.
        stopping: What may end it early.
        say: Tells a person that a trial's record has changed, in its stage.
        on_end: Called with the record of a trial that has ended for now.
    """

    def __init__(
        self,
        sweep: Sweep,
        *,
        max_concurrent: int,
        stopping: Stopping,
        say: Callable[[Mapping[str, Any]], Any],
        on_end: Callable[[Mapping[str, Any]], Any],
    ) -> None:
        self.sweep = sweep
        self.output = Path(sweep.config.output)
        self.max_concurrent = max_concurrent
        self._session = Session(self._look, lambda record, trials: say(record), on_end)
        self._stopping = stopping
        self._trials: Sequence[Trial] = ()
        self._kept: KeptState | None = None
        """Of the stage that runs."""
        self._is_restored = False
        self._unseen_stage: str | None = None
        """The stage that runs, until its trials were looked at for the first time."""
        self._admitted: set[str] = set()
        self._problem: str | None = None
        self._looked_at = 0.0
        self._crowded_since: float | None = None
        """Since when the cluster has no room for a trial; one with several ranks waits in its process."""

    def run(self, stage: str, plans: Sequence[TrialPlan], *, num_suggested: int = 0) -> None:
        """Run a stage to its end, or go on with it.

        Args:
            stage: ``search`` or ``confirm``.
            plans: Its fixed trials.
            num_suggested: Trials that the searcher adds to them.

        Raises:
            SweepInterrupted: If it was asked to stop.
            SweepStuck: If no trial finds a place any more.
        """
        os.environ.update(_SETTINGS)
        # What a killed driver forgets; Tune writes all of its state each time.
        seconds = 1 + (len(plans) + num_suggested) // 100
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = str(seconds)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the recorder says it all, and better
        Recorder.session = self._session
        PacedScheduler.max_concurrent = self.max_concurrent
        self._trials = ()  # those of the stage before are no state of this one
        self._unseen_stage = stage
        self._kept = KeptState(self.output / STATE_FOLDER / stage)
        if not self._kept.exists() and any(trial.evaluations for trial in self._records(stage)):
            raise SweepStuck(
                f"the {stage} has begun, and Ray Tune's state of it in {self.output / STATE_FOLDER} is gone; "
                "start a new sweep with another output="
            )
        self._is_restored = self._kept.bring_back()
        tuner = self._tuner(stage, plans, num_suggested)
        unfinished: Sequence[Trial] = ()
        try:
            with self._stopping.in_loop(), warnings.catch_warnings():
                # Processes cannot be used for a second trial.
                warnings.filterwarnings("ignore", message="Consider boosting PBT performance")
                count = len(tuner.fit())
            self._keep(self._trials)
        finally:
            unfinished = self._recorder().interrupt(self._trials)
            Recorder.session = None
        if self._problem is not None:
            raise SweepStuck(self._problem)
        is_asked = self._stopping.reason is not None  # maybe in the last moment of a stage
        if unfinished or is_asked or count < len(plans) + num_suggested:
            raise SweepInterrupted(self._stopping.reason or "a signal")

    def _tuner(self, stage: str, plans: Sequence[TrialPlan], num_suggested: int) -> tune.Tuner:
        resources = self.sweep.settings.resources
        # Several ranks have workers of their own; the trial's process only leads them.
        if resources.workers == 1:
            own: dict[str, float] = {"CPU": resources.cpus, "GPU": resources.gpus}
        else:
            own = {"CPU": 0, "memory": 1}
        trainable = tune.with_resources(run_trial, own)
        state = self.output / STATE_FOLDER
        state.mkdir(mode=0o700, exist_ok=True)
        if self._is_restored:
            return tune.Tuner.restore(
                str(state / stage), trainable, resume_unfinished=True, resume_errored=True
            )
        settings = self.sweep.settings
        searcher = OptunaSearcher(self.sweep, plans) if num_suggested else None
        points = [plan.to_config(str(self.output)) for plan in plans]
        is_search = stage == "search"
        memory = state / f"{stage}-scheduler.jsonl"
        scheduler = build_scheduler(self.sweep, memory) if is_search else PacedScheduler()
        return tune.Tuner(
            trainable,
            param_space=None if searcher is not None else _every(points),
            tune_config=tune.TuneConfig(
                num_samples=len(plans) + num_suggested if searcher is not None else 1,
                search_alg=searcher,
                scheduler=scheduler,
                # A population exchanges when all of it has come so far; who waits holds no place.
                max_concurrent_trials=None if settings.scheduler.name == "pbt" else self.max_concurrent,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
                reuse_actors=False,  # DeepSpeed keeps its groups for as long as its process lives
            ),
            run_config=tune.RunConfig(
                name=stage,
                storage_path=str(state),
                failure_config=tune.FailureConfig(max_failures=settings.max_failures),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=_num_kept(settings.scheduler)),
                callbacks=[self._recorder()],
                verbose=0,
            ),
        )

    def _recorder(self) -> Recorder:
        resources = self.sweep.settings.resources
        assert self.sweep.config.train.max_steps is not None
        return Recorder(
            self.output,
            num_devices=resources.workers,
            device="GPU" if resources.gpus else "CPU",
            num_steps=self.sweep.config.train.max_steps,
            rungs=rungs(self.sweep),
        )

    def _look(self, trials: Sequence[Trial]) -> None:
        self._trials = trials
        if self._unseen_stage is not None:
            self._look_first(self._unseen_stage, trials)
            self._unseen_stage = None
        self._keep(trials)
        for trial in trials:
            if trial.trial_id not in self._admitted:
                # Restored, it has the failures of earlier attempts behind it, and their limit.
                self._admitted.add(trial.trial_id)
                trial.max_failures = trial.run_metadata.num_failures + self.sweep.settings.max_failures
        now = time.monotonic()
        if now < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = now
        self._stopping.look()
        if self.sweep.settings.resources.workers > 1:
            free_places()
        nodes = node_resources()
        try:
            check_places(nodes, self.sweep.settings.resources)
        except UserError as error:
            self._crowded_since = self._crowded_since or now
            if now > self._crowded_since + (_LOST_SECONDS if nodes else _EMPTY_SECONDS):
                self._problem = f"{error}; then go on with --resume"
                self._stopping.ask("no trial finds a place any more")
        else:
            self._crowded_since = None

    def _look_first(self, stage: str, trials: Sequence[Trial]) -> None:
        """Whether Tune restored what it was to restore; it starts over if it cannot, and says nothing."""
        if self._is_restored and not trials:
            raise SweepStuck(
                f"Ray Tune cannot read its state in {self.output / STATE_FOLDER}; start a new sweep with "
                f"another output=, or train {self.output / 'trials'}/ID/config.yaml on its own"
            )
        known = {trial.trial_id for trial in trials}
        for trial in self._records(stage):
            if trial.trial_id not in known:
                # It started in the last moment of a killed driver, and comes again.
                place = _free_name(self.output / "forgotten" / trial.trial_id)
                place.parent.mkdir(exist_ok=True)
                trial_folder(self.output, trial.trial_id).rename(place)
                say(f"trial {trial.number} ({trial.trial_id}) is begun anew; what it left is in {place}")

    def _records(self, stage: str) -> list[TrialRecord]:
        """Of every trial of a stage that the sweep's folder holds."""
        return [trial for trial in read_sweep(self.output).trials if trial.stage == stage]

    def _keep(self, trials: Sequence[Trial]) -> None:
        if trials and self._kept is not None:
            self._kept.keep(Path(trials[0].local_experiment_path))


def check_is_own(state: Path) -> None:
    """Tune restores an experiment by unpickling it, which runs what is in it: who may have put it there?

    Args:
        state: The folder of a sweep in which Ray keeps its state; the driver makes it for its user alone.

    Raises:
        UserError: If someone else could have written there.
    """
    with contextlib.suppress(FileNotFoundError):  # nothing to restore
        status = state.stat()
        if status.st_uid not in (os.getuid(), 0):
            raise UserError(f"{state} belongs to another user, and reading Ray's state may run code in it")
        if status.st_mode & 0o022:
            raise UserError(
                f"{state} can be written by others, and reading Ray's state may run code in it; if only you "
                f"have written there, take their right away (chmod go-w {state}) and resume again"
            )


def _every(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A search space that is these configurations, one trial each."""
    (output,) = {point["output"] for point in points}
    return {"plan": tune.grid_search([point["plan"] for point in points]), "output": output}


def _num_kept(scheduler: SchedulerConfig) -> int | None:
    """Checkpoints that Tune keeps of each trial; see ``handed_over``.

    Whoever takes over from a trial may get a place only when that one has come to the next exchange.
    """
    return scheduler.grace_evaluations + 3 if scheduler.name == "pbt" else None


def _free_name(path: Path) -> Path:
    """This path, or where there is something already, one with a number behind it."""
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())


def _name(trial: Trial) -> str:
    return trial.trial_id
