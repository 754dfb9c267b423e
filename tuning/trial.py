"""One trial: a whole training with one configuration and seed, reported evaluation by evaluation.

The trial's folder is all that it resumes from. Whoever starts it again is told of every evaluation again, in
order, and answers as before.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch.distributed as dist

from langpose_dist.config import RunConfig, build_config, with_values
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.status import read_status
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tracking.factory import build_tracker
from langpose_dist.train.checkpoint import find_checkpoint
from langpose_dist.train.distributed.guard import DivergedError
from langpose_dist.train.distributed.stop import EarlyStop
from langpose_dist.train.run import train
from tuning.settings import Sweep

STEP = "step"
"""Name of the time that trials are compared at: optimizer updates, which no restart sets back."""
ENDED = "ended"
"""Of the last report of a trial: ``finished`` or ``diverged``; missing in those before."""

Report = Callable[[Mapping[str, Any]], None]
"""Reports metrics to the sweep; raises ``EarlyStop`` where the sweep stops the trial."""


@dataclass(frozen=True)
class TrialPlan:
    """Configuration and seed of a trial; plain values, as they pass through Ray."""

    number: int
    """Counted over all stages of the sweep."""
    seed: int
    params: Mapping[str, Any] = field(default_factory=dict)
    """Key of the configuration -> value; empty for the baseline."""
    is_baseline: bool = False
    stage: str = "search"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read a Tune trial's configuration."""
        return cls(**config["plan"])

    def to_config(self, output: Path) -> dict[str, Any]:
        """Configuration of a Tune trial."""
        return {"plan": asdict(self), "output": str(output)}

    @property
    def trial_id(self) -> str:
        """Name of its folder, the same at every attempt."""
        return f"{self.number:03d}"


def trial_folder(output: Path, trial_id: str) -> Path:
    """Run folder of a trial."""
    return output / "trials" / trial_id


def trial_config(sweep: Sweep, plan: TrialPlan) -> RunConfig:
    """Configuration that a trial trains with.

    Raises:
        ConfigError: If the values do not go together.
    """
    base, resources = sweep.config, sweep.settings.resources
    run_name = base.tracking.run_name or Path(base.output).resolve().name
    values: dict[str, Any] = {
        **plan.params,
        "output": str(trial_folder(Path(base.output), plan.trial_id)),
        "seed": plan.seed,
        "tracking.run_name": f"{run_name}-{plan.number:03d}-seed{plan.seed}",
        "tracking.register_as": None,
        "train.keep_checkpoints": 1,
    }
    if resources.gpus == 0:
        threads = base.train.num_threads or max(1, int(resources.cpus))
        values |= {"train.device": "cpu", "train.num_threads": threads}
    return build_config(with_values(sweep.content, values))


def train_trial(sweep: Sweep, plan: TrialPlan, report: Report, ranks: AbstractContextManager[None]) -> None:
    """Train from wherever the trial stands to its end, as rank 0.

    Args:
        sweep: Its ``train.max_steps`` is set.
        plan: What to train.
        report: Given every evaluation of the trial, those of earlier attempts first.
        ranks: Has the other ranks train along while it is entered.

    Raises:
        EarlyStop: If the sweep stopped the trial.
    """
    config = trial_config(sweep, plan)
    run_dir = Path(config.output)
    _report_earlier(config, report)
    try:
        last = _finished(run_dir)
        if last is None:
            with ranks:
                result = train(
                    config,
                    _tracker(config, plan),
                    resume="if started",
                    on_evaluation=_evaluation_callback(config, report),
                )
            assert result is not None
            last = result.evaluation
        report({STEP: config.train.max_steps, ENDED: "finished", **_metrics_of_report(last)})
    except DivergedError as error:
        # A restart would diverge again, so to Tune it is no failure.
        print(f"error: {error}", file=sys.stderr)
        step = max((step for step, _ in _evaluations(config)), default=0)
        nothing = dict.fromkeys(sweep.settings.objective, math.nan)
        report({STEP: step, ENDED: "diverged", "reason": str(error), **nothing})


def train_beside(sweep: Sweep, plan: TrialPlan) -> None:
    """Train as one of the other ranks, until rank 0 ends.

    Raises:
        Exception: From ``train``, of this rank alone.
    """
    config = trial_config(sweep, plan)
    try:
        callback = _evaluation_callback(config, report=None)
        train(config, _tracker(config, plan), resume="if started", on_evaluation=callback)
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


def _short_names(metrics: Mapping[str, float], config: RunConfig) -> dict[str, float]:
    """``validation/masked/mpjpe_mm`` -> ``masked/mpjpe_mm``; all but the model's own values is left out."""
    split = f"{config.data.validation_split}/"
    conditions = tuple(f"{split}{condition}/" for condition in config.evaluation.conditions)
    return {name.removeprefix(split): value for name, value in metrics.items() if name.startswith(conditions)}


def _finished(run_dir: Path) -> dict[str, Any] | None:
    """Last evaluation of a trial that finished in an earlier attempt."""
    path = run_dir / "evaluation.json"
    if read_status(run_dir) != "finished" or not path.exists():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def _metrics_of_report(evaluation: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{condition}/{name}": value
        for condition, values in evaluation.get("conditions", {}).items()
        for name, value in values.items()
    }


def _tracker(config: RunConfig, plan: TrialPlan) -> Tracker:
    tags = {
        "sweep.trial_id": plan.trial_id,
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
