"""One trial: a whole training with one configuration and seed, told to Ray Tune evaluation by evaluation."""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from ray import tune

from langpose_dist.config import RunConfig, UserError, build_config, load_config, with_values
from langpose_dist.host.atomic import replace_text
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tracking.factory import build_tracker
from langpose_dist.train.checkpoint import STATE, WEIGHTS, find_checkpoint
from langpose_dist.train.distributed.guard import DivergedError
from langpose_dist.train.distributed.stop import EarlyStop
from langpose_dist.train.run import go_on_from, train
from tuning.settings import Sweep, load_sweep

STEP = "step"
"""Name of the time that trials are compared at: optimizer updates, which no restart sets back."""
ENDED = "ended"
"""Of the last report of a trial: ``finished`` or ``diverged``; missing in those before."""
SWEEP_FILE = "sweep.yaml"
STATE_FOLDER = "ray"
"""In the sweep's folder: Ray's own state, and the memory of the schedulers."""
_ORIGIN = "origin.txt"
"""In a trial's folder: its plan's origin, once it has taken over."""

Report = Callable[[Mapping[str, Any], Path | None], None]
"""Tells Tune metrics, with the folder of a checkpoint; raises ``SystemExit`` where the trial is stopped."""


@dataclass(frozen=True)
class TrialPlan:
    """What a trial trains; plain values, as they pass through Ray."""

    number: int
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)
    """Key of the configuration -> value; empty for the baseline."""
    is_baseline: bool = False
    stage: str = "search"
    origin: str = ""
    """In population-based training: whose weights it has taken over, and of which step."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Of a Tune trial's configuration."""
        return cls(**config["plan"])

    def to_config(self, output: str) -> dict[str, Any]:
        """As a Tune trial's configuration."""
        return {"plan": asdict(self), "output": output}


def trial_folder(output: Path, trial_id: str) -> Path:
    """The run's folder of a trial."""
    return output / "trials" / trial_id


def trial_config(sweep: Sweep, plan: TrialPlan, trial_id: str) -> RunConfig:
    """The configuration that a trial trains with.

    Raises:
        ConfigError: If the values do not go together.
    """
    base, resources = sweep.config, sweep.settings.resources
    run_name = base.tracking.run_name or Path(base.output).resolve().name
    values: dict[str, Any] = {
        **plan.params,
        "output": str(trial_folder(Path(base.output), trial_id)),
        "seed": plan.seed,
        "tracking.run_name": f"{run_name}-{plan.number:03d}-seed{plan.seed}",
        "tracking.register_as": None,
        "train.keep_checkpoints": 1,
    }
    if resources.gpus == 0:
        threads = base.train.num_threads or max(1, int(resources.cpus))
        values |= {"train.device": "cpu", "train.num_threads": threads}
    return build_config(with_values(sweep.content, values))


def run_trial(config: Mapping[str, Any]) -> None:
    """What Ray Tune starts, in a process of its own."""
    output = Path(config["output"])
    plan = TrialPlan.from_config(config)
    trial_id = tune.get_context().get_trial_id()
    assert trial_id is not None
    sweep = load_sweep([output / SWEEP_FILE])
    with logged(trial_folder(output, trial_id) / "trial.log"):
        if sweep.settings.resources.workers > 1:
            from tuning.workers import run_workers

            run_workers(sweep, plan, trial_id)
            return
        checkpoint = tune.get_checkpoint()
        report = partial(_report, is_whole=sweep.settings.scheduler.name == "pbt")
        if checkpoint is None:
            train_trial(sweep, plan, trial_id, report)
        else:
            with checkpoint.as_directory() as place:
                train_trial(sweep, plan, trial_id, report, Path(place))


def _report(metrics: Mapping[str, Any], folder: Path | None, *, is_whole: bool) -> None:
    if folder is None:
        tune.report(dict(metrics))
        return
    with handed_over(folder, is_whole=is_whole) as place:
        tune.report(dict(metrics), checkpoint=tune.Checkpoint.from_directory(place))


@contextmanager
def handed_over(checkpoint: Path, *, is_whole: bool) -> Iterator[Path]:
    """What Tune keeps of a checkpoint: all of it where another trial may take over, else its state alone.

    The trial's own folder lies on the same storage and goes on from its own. And what Tune keeps must not be
    so large that it has to be deleted: a killed driver may have deleted what its last state still names.
    """
    if is_whole:
        yield checkpoint
        return
    with tempfile.TemporaryDirectory(prefix="langpose-") as place:
        shutil.copy(checkpoint / STATE, place)
        yield Path(place)


def train_trial(
    sweep: Sweep, plan: TrialPlan, trial_id: str, report: Report, checkpoint: Path | None = None
) -> None:
    """Train from wherever the trial stands to its end; every rank calls it.

    The trial's folder is where it goes on from: it is as new as what Tune knows, or newer. Only in
    population-based training, for values or an origin other than the folder's, it is Tune's checkpoint.

    Args:
        sweep: What the trial belongs to; its ``train.max_steps`` is set.
        plan: What it trains.
        trial_id: Tune's name of it.
        report: Tells Tune.
        checkpoint: The last that Tune has of this trial, or of the one that it is to take over from.

    Raises:
        SystemExit: If the trial was stopped.
    """
    config = trial_config(sweep, plan, trial_id)
    run_dir = Path(config.output)
    split = config.data.validation_split
    known = 0
    if checkpoint is not None:
        known = _step_of(checkpoint)
        if (checkpoint / WEIGHTS).exists() and _is_elsewhere(run_dir, config, plan.origin):
            go_on_from(checkpoint, config)
            replace_text(run_dir / _ORIGIN, plan.origin)

    def on_evaluation(step: int, metrics: Mapping[str, float], folder: Path) -> None:
        _tell(report, {STEP: step, **short_names(metrics, split)}, folder)

    try:
        _tell_again(run_dir, config, known, report)
        try:
            evaluation = _finished(run_dir)
            if evaluation is None:
                result = train(
                    config, _tracker(config, plan, trial_id), resume="if started", on_evaluation=on_evaluation
                )
                evaluation = {} if result is None else result.evaluation
            last = {STEP: config.train.max_steps, ENDED: "finished", **_of_report(evaluation)}
        except DivergedError as error:
            # To be started again would not help, so it is no failure to Tune.
            print(f"error: {error}", file=sys.stderr)
            step = max([known, *(step for step, _ in evaluations(run_dir, split))])
            last = {STEP: step, ENDED: "diverged", "reason": str(error)}
            last |= dict.fromkeys(sweep.settings.objective, math.nan)
        _tell(report, last, None)
    except EarlyStop as stop:
        print(stop, file=sys.stderr)
        raise SystemExit(0) from None


def _finished(run_dir: Path) -> dict[str, Any] | None:
    """The last evaluation of a trial that came to its end before Tune heard of it."""
    folder = RunFolder(run_dir)
    return folder.read_evaluation() if folder.read_status() == "finished" else None


def short_names(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """``validation/masked/mpjpe_mm`` -> ``masked/mpjpe_mm``; what is not of the model is left out."""
    conditions = tuple(f"{split}/{condition}/" for condition in ("clean", "noisy", "masked"))
    return {
        name.removeprefix(f"{split}/"): value
        for name, value in metrics.items()
        if name.startswith(conditions)
    }


def evaluations(run_dir: Path, split: str) -> list[tuple[int, dict[str, float]]]:
    """Step and metrics of every evaluation that a trial's folder holds."""
    lines = [
        (int(line["step"]), short_names(line, split)) for line in read_metrics(RunFolder(run_dir).metrics)
    ]
    return [(step, metrics) for step, metrics in lines if metrics]


def _tell(report: Report, metrics: Mapping[str, Any], folder: Path | None) -> None:
    try:
        report(metrics, folder)
    except SystemExit:
        raise EarlyStop(f"stopped after step {metrics[STEP]}") from None


def _tell_again(run_dir: Path, config: RunConfig, known: int, report: Report) -> None:
    """Tell the evaluations that Tune may have lost with its driver.

    The folder's checkpoint may be older than its last evaluation: what lies beyond comes again by itself.
    The last evaluation of all is told when the run's folder is complete.
    """
    found = find_checkpoint(RunFolder(run_dir).checkpoints, warn=lambda message: None)
    if found is None:
        return
    folder, state = found
    assert config.train.max_steps is not None
    for step, metrics in evaluations(run_dir, config.data.validation_split):
        if known < step <= state.step and step < config.train.max_steps:
            _tell(report, {STEP: step, **metrics}, folder if step == state.step else None)


def _is_elsewhere(run_dir: Path, config: RunConfig, origin: str) -> bool:
    """Whether the folder does not hold a run of this configuration and origin that can be gone on with."""
    try:
        # A trial may take over the weights of another and come to the very values that it had.
        before = (run_dir / _ORIGIN).read_text(encoding="utf-8") if (run_dir / _ORIGIN).exists() else ""
        is_another = before != origin or load_config(RunFolder(run_dir).config).hash() != config.hash()
        return (
            is_another or find_checkpoint(RunFolder(run_dir).checkpoints, warn=lambda message: None) is None
        )
    except UserError:
        return True


def _step_of(folder: Path) -> int:
    """The step of Tune's copy of a checkpoint."""
    content = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return int(content["step"])


def _of_report(evaluation: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{condition}/{name}": value
        for condition, values in evaluation.get("conditions", {}).items()
        for name, value in values.items()
    }


def _tracker(config: RunConfig, plan: TrialPlan, trial_id: str) -> Tracker:
    tags = {
        "sweep.trial_id": trial_id,
        "sweep.number": str(plan.number),
        "sweep.seed": str(plan.seed),
        "sweep.stage": plan.stage,
        "sweep.is_baseline": str(plan.is_baseline).lower(),
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
