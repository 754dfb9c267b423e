"""Where changes of a trial's record go: a line for a person, and the last word on its run in MLflow."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig
from langpose_dist.host.console import say
from langpose_dist.report.sweep import TrialRecord, read_sweep
from langpose_dist.runs.tracker import Status, Tracker
from tuning.plan import Plan
from tuning.stages import DONE
from tuning.trial import trial_folder

_SETTLING_TIMEOUT_S = 60.0
"""Longest wait of the end of a sweep for its tracking store."""
_STATUS: Mapping[str, Status] = {
    "finished": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "diverged": "FAILED",
    "interrupted": "KILLED",
}


@contextmanager
def settling(
    config: RunConfig, tracker: Tracker, *, is_resumed: bool
) -> Iterator[Callable[[TrialRecord], None]]:
    """Tell MLflow of trials that have ended for now; yields what to call with each.

    Args:
        config: Of the sweep; without tracking nothing is told.
        tracker: Of the sweep's own run, under which the trials belong.
        is_resumed: The last attempt may have ended before it had told all.
    """
    output = Path(config.output)
    before = read_sweep(output)
    for warning in before.warnings if is_resumed else ():
        say(f"warning: {warning}")
    if not config.tracking.enabled:
        yield lambda trial: None
        return
    from langpose_dist.tracking.trials import Settler

    settler = Settler(config.tracking.uri)

    def settle(trial: TrialRecord) -> None:
        tags = {
            "sweep.status": trial.status,
            "sweep.stop_reason": trial.reason or "came to its end",
            "sweep.rung": str(trial.rung) if trial.rung is not None else "none",
            "sweep.step": str(trial.step),
            "sweep.failures": str(trial.failures),
        }
        settler.submit(
            trial_folder(output, trial.trial_id),
            status=_STATUS[trial.status],
            reason=trial.reason,
            tags=tags,
            parent=tracker.record.get("run_uid"),
        )

    for trial in before.trials:
        if trial.status in DONE:
            settle(trial)
    try:
        yield settle
    finally:
        left = settler.close(_SETTLING_TIMEOUT_S)
        if left:
            say(
                f"MLflow does not have all of {len(left)} trials yet; nothing is lost, send it with: "
                f"langpose registry replay {output}"
            )


class Narrator:
    """Prints one line for each thing that happens to a trial."""

    def __init__(self, plan: Plan, tell: Callable[[str], Any]) -> None:
        self._plan = plan
        self._tell = tell
        self._status: dict[str, str] = {}
        self._metric = plan.sweep.settings.objective[0]

    def __call__(self, trial: TrialRecord) -> None:
        """Print how a trial stands now."""
        self._status[trial.trial_id] = trial.status
        ended = sum(status in (*DONE, "failed") for status in self._status.values())
        words = [f"{trial.stage} trial {trial.number} (seed {trial.seed})"]
        if trial.evaluations:
            value = trial.evaluations[-1].metrics.get(self._metric)
            words.append(f"step {trial.step}/{self._plan.sweep.config.train.max_steps}")
            words += [f"{self._metric} {value:.4g}"] if value is not None else []
        words += [trial.status, trial.reason] if trial.reason else [trial.status]
        planned = max(self._plan.num_trials, len(self._status))
        self._tell(f"[{ended}/{planned} ended] {', '.join(words)}")
