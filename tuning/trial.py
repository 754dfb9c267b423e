"""One trial: a whole training with one configuration and seed, reported evaluation by evaluation.

The trial's folder is all that it resumes from. Whoever starts it again is told of every evaluation again, in
order, and answers as before.
"""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from langpose_dist.config import RunConfig, build_config, with_values
from langpose_dist.report.sweep import TrialRecord
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tracking.factory import build_tracker
from langpose_dist.train.checkpoint import find_checkpoint
from langpose_dist.train.distributed.guard import DivergedError
from langpose_dist.train.distributed.stop import EarlyStop
from langpose_dist.train.run import train
from tuning.settings import ResourcesConfig, Sweep

STEP = "step"
"""Name of the time that trials are compared at: optimizer updates, which no restart sets back."""
ENDED = "ended"
"""Key in the last report of a trial: ``finished`` or ``diverged``; missing in those before."""

Report = Callable[[Mapping[str, Any]], None]
"""Reports metrics to the sweep; raises ``EarlyStop`` where the sweep stops the trial."""


def new_trial(
    number: int,
    seed: int,
    params: Mapping[str, Any] | None,
    resources: ResourcesConfig,
    stage: str = "search",
) -> TrialRecord:
    """Record of a trial that has not begun; numbers count over all stages, the baseline has no ``params``."""
    return TrialRecord.model_validate(
        {
            "trial_id": f"{number:03d}",
            "number": number,
            "stage": stage,
            "is_baseline": params is None,
            "params": dict(params or {}),
            "seed": seed,
            "status": "pending",
            "num_devices": resources.workers,
            "device": "GPU" if resources.gpus else "CPU",
        }
    )


def to_tune(trial: TrialRecord, output: Path) -> dict[str, Any]:
    """Configuration of a Tune trial."""
    return {"trial": trial.model_dump_json(), "output": str(output)}


def from_tune(config: Mapping[str, Any]) -> TrialRecord:
    """Trial of a Tune trial's configuration, as it was when the attempt began."""
    return TrialRecord.model_validate_json(config["trial"])


def trial_folder(output: Path, trial_id: str) -> Path:
    """Run folder of a trial."""
    return output / "trials" / trial_id


def trial_config(sweep: Sweep, trial: TrialRecord) -> RunConfig:
    """Configuration that a trial trains with.

    Raises:
        ConfigError: If the values do not go together.
    """
    base, resources = sweep.config, sweep.settings.resources
    run_name = base.tracking.run_name or Path(base.output).resolve().name
    values: dict[str, Any] = {
        **trial.params,
        "output": str(trial_folder(Path(base.output), trial.trial_id)),
        "seed": trial.seed,
        "tracking.run_name": f"{run_name}-{trial.number:03d}-seed{trial.seed}",
        "tracking.register_as": None,
        "train.keep_checkpoints": 1,
    }
    if resources.gpus == 0:
        threads = base.train.num_threads or max(1, int(resources.cpus))
        values |= {"train.device": "cpu", "train.num_threads": threads}
    return build_config(with_values(base.model_dump(mode="json"), values))


def train_trial(
    sweep: Sweep, trial: TrialRecord, report: Report, ranks: AbstractContextManager[None]
) -> None:
    """Train from wherever the trial stands to its end, as rank 0.

    Args:
        sweep: Its ``train.max_steps`` is set.
        trial: The trial.
        report: Given every evaluation of the trial, those of earlier attempts first.
        ranks: Has the other ranks train along while it is entered.

    Raises:
        EarlyStop: If the sweep stopped the trial.
    """
    config = trial_config(sweep, trial)
    run_dir = Path(config.output)
    _report_earlier(config, report)
    try:
        if RunFolder(run_dir).read_status() != "finished" or _last_step(config) != config.train.max_steps:
            with ranks:
                train(
                    config,
                    _tracker(config, trial),
                    resume="if started",
                    on_evaluation=_evaluation_callback(config, report),
                )
        step, metrics = _evaluations(config)[-1]
        report({STEP: step, ENDED: "finished", **metrics})
    except DivergedError as error:
        # A restart would diverge again, so to Tune it is no failure.
        print(f"error: {error}", file=sys.stderr)
        nothing = dict.fromkeys(sweep.settings.objective, math.nan)
        report({STEP: _last_step(config), ENDED: "diverged", "reason": str(error), **nothing})


def train_beside(sweep: Sweep, trial: TrialRecord) -> None:
    """Train as one of the other ranks, until rank 0 ends.

    Raises:
        Exception: From ``train``, of this rank alone.
    """
    config = trial_config(sweep, trial)
    try:
        callback = _evaluation_callback(config, report=None)
        train(config, _tracker(config, trial), resume="if started", on_evaluation=callback)
    except (EarlyStop, DivergedError) as end:  # rank 0 ends in the same way
        print(end, file=sys.stderr)


def _evaluation_callback(
    config: RunConfig, report: Report | None
) -> Callable[[int, Mapping[str, float], Path], None]:
    """Have rank 0 report an evaluation, and every rank end where it is told to."""

    def on_evaluation(step: int, metrics: Mapping[str, float], folder: Path) -> None:
        reason: list[str | None] = [None]
        if report is not None:
            try:
                report({STEP: step, **_short_names(metrics, config)})
            except EarlyStop as stop:
                reason = [str(stop)]
        if dist.get_world_size() > 1:
            dist.broadcast_object_list(reason, src=0)
        if reason[0] is not None:
            raise EarlyStop(reason[0])

    return on_evaluation


def _report_earlier(config: RunConfig, report: Report) -> None:
    """Report the evaluations of earlier attempts.

    The folder's checkpoint may be older than its last evaluation: what lies beyond is evaluated again. The
    last evaluation of all is reported when the run's folder is complete.
    """
    found = find_checkpoint(Path(config.output) / "checkpoints", warn=lambda message: None)
    if found is None:
        return
    _, state = found
    assert config.train.max_steps is not None
    for step, metrics in _evaluations(config):
        if step <= state.step and step < config.train.max_steps:
            report({STEP: step, **metrics})


def _evaluations(config: RunConfig) -> list[tuple[int, dict[str, float]]]:
    """Step and metrics of every evaluation in a trial's folder."""
    lines = read_metrics(Path(config.output) / "metrics.jsonl")
    found = [(int(line["step"]), _short_names(line, config)) for line in lines]
    return [(step, metrics) for step, metrics in found if metrics]


def _last_step(config: RunConfig) -> int:
    return max((step for step, _ in _evaluations(config)), default=0)


def _short_names(metrics: Mapping[str, float], config: RunConfig) -> dict[str, float]:
    """``validation/masked/mpjpe_mm`` -> ``masked/mpjpe_mm``; all but the model's own values is left out."""
    split = f"{config.data.validation_split}/"
    conditions = tuple(f"{split}{condition}/" for condition in config.evaluation.conditions)
    return {name.removeprefix(split): value for name, value in metrics.items() if name.startswith(conditions)}


def _tracker(config: RunConfig, trial: TrialRecord) -> Tracker:
    tags = {
        "sweep.trial_id": trial.trial_id,
        "sweep.number": str(trial.number),
        "sweep.seed": str(trial.seed),
        "sweep.stage": trial.stage,
        "sweep.is_baseline": str(trial.is_baseline).lower(),
        "sweep.status": "running",
    }
    return build_tracker(config, tags=tags)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send all that this process prints into a file of the trial's folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    before = [(number, os.dup(number)) for number in (1, 2)]
    with path.open("ab") as file:
        for number, _ in before:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, kept in before:
            os.dup2(kept, number)
            os.close(kept)
