"""A sweep before it starts: everything resolved, every trial that is known checked and described."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.remote import is_url
from langpose_dist.host.redaction import redact
from langpose_dist.report.sweep import TrialRecord
from langpose_dist.tasks.task import check_metric, load_task
from langpose_dist.train.engine import count_steps, micro_batch_size
from tuning.cluster import check_slots, node_resources, start_ray
from tuning.schedulers import rungs
from tuning.searchers import fixed_trials
from tuning.settings import Sweep
from tuning.trial import trial_config


@dataclass(frozen=True)
class Plan:
    """A sweep that is ready to start."""

    sweep: Sweep
    """Absolute paths, and ``train.max_steps`` set."""
    corpus: Corpus
    first: Sequence[TrialRecord]
    """Trials of the search that are known beforehand."""
    num_suggested: int
    """Trials that the searcher adds to them."""

    @property
    def output(self) -> Path:
        """The sweep's folder."""
        return Path(self.sweep.config.output)

    @property
    def num_trials(self) -> int:
        """Trials of the search."""
        return len(self.first) + self.num_suggested


def _check_objectives(sweep: Sweep, config: RunConfig, corpus: Corpus) -> None:
    for metric in sweep.settings.objective:
        try:
            check_metric(metric, config, corpus)
        except UserError as error:
            raise UserError(f"sweep.objective={metric}: {error}") from None


def prepare(sweep: Sweep) -> Plan:
    """Resolve what a sweep leaves open, and check every trial that is known.

    Raises:
        UserError: If something does not go together.
    """
    config = sweep.config
    for uri in (config.tracking.uri, config.data.path):
        if redact(uri) != uri:
            raise UserError(
                f"{redact(uri)} holds credentials, and a sweep writes its configuration down; give "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials or ~/.pgpass"
            )
    corpus = load_task(config.task).open(config)
    _check_objectives(sweep, config, corpus)
    num_steps = count_steps(config, len(corpus.training_set))
    values: dict[str, Any] = {"train.max_steps": num_steps, "data.path": _absolute(config.data.path)}
    values["output"] = str(Path(config.output).resolve())
    values["tracking.parent_run_id"] = None  # its trials', where it is read from a sweep's folder
    if config.model.initial_weights is not None:
        from langpose_dist.tracking.registry.weights import find_weights

        weights = find_weights(config.model.initial_weights, config.tracking.uri)
        values["model.initial_weights"] = str(weights.resolve())
    if Path(config.text.encoder).exists():
        values["text.encoder"] = str(Path(config.text.encoder).resolve())
    if config.tracking.enabled:
        from langpose_dist.tracking.client import resolve_uri

        uri = resolve_uri(config.tracking.uri)
        values |= {"tracking.uri": uri} if redact(uri) == uri else {}
    sweep = sweep.with_values(values)
    first = fixed_trials(sweep)
    for trial in first:
        resolved = trial_config(sweep, trial)
        _check_objectives(sweep, resolved, corpus)
        micro_batch_size(resolved, sweep.settings.resources.workers)
        count_steps(resolved, len(corpus.training_set))
    num_suggested = sweep.settings.num_trials if sweep.settings.searcher == "optuna" else 0
    return Plan(sweep, corpus, first, num_suggested)


def describe_plan(plan: Plan, address: str | None) -> list[str]:
    """Lines for people about what a sweep would start.

    Raises:
        UserError: If the cluster cannot be reached or does not hold a trial.
    """
    config, settings = plan.sweep.config, plan.sweep.settings
    start_ray(address)
    try:
        slots = check_slots(node_resources(), settings.resources)
    finally:
        ray.shutdown()
    wanted, steps = settings.resources, ", ".join(map(str, rungs(plan.sweep)))
    concurrent = min(slots, settings.max_concurrent or slots)
    lines = [
        f"{plan.num_trials} trials of {config.train.max_steps} steps, "
        f"{wanted.workers} x ({wanted.cpus:g} CPUs, {wanted.gpus:g} GPUs) each, "
        f"{concurrent} at a time (there is room for {slots})",
        f"searcher {settings.searcher}, scheduler {settings.scheduler.name}, objective "
        f"{', '.join(settings.objective)} on {config.data.validation_split}"
        + (f", compared at steps {steps}" if steps else ""),
    ]
    for trial in plan.first:
        values = "  ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
        shown = "the configuration as it is" if trial.is_baseline else values
        lines.append(f"  {trial.number:3d}  seed {trial.seed}  {shown}")
    if plan.num_suggested:
        lines.append(f"  and {plan.num_suggested} that Optuna suggests in the course of the sweep, over:")
        lines += [f"       {key}: {entry}" for key, entry in plan.sweep.space.to_dict().items()]
    if settings.has_confirm_stage:
        baseline = " and the baseline" if settings.baseline else ""
        lines.append(
            f"then the best {settings.finalists}{baseline} to the full length with seeds "
            f"{', '.join(map(str, settings.seeds))}"
        )
    store = f" and at {config.tracking.uri}" if config.tracking.enabled else ""
    return [*lines, f"recorded in {plan.output}{store}"]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _absolute(path: str) -> str:
    return path if is_url(path) else str(Path(path).resolve())
