"""The ``sweep`` section of a configuration, checked before anything starts."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, field_validator, model_validator

from langpose_dist.config import (
    ConfigError,
    Count,
    Flag,
    Fraction,
    Positive,
    RunConfig,
    Section,
    Seed,
    Whole,
    build_config,
    check,
    describe_keys,
    read_content,
    schema_of,
    suggest,
    with_values,
)
from langpose_dist.metrics.table import METRICS, metric_of
from langpose_dist.tasks.task import load_task
from tuning.space import DEFAULT_SPACE, Space, read_space

SWEEP_FILE = "sweep.yaml"
"""In the sweep's folder: its resolved configuration."""
_STEP_KEYS = ("train.global_batch_size", "window.stride", "data.train_split")
"""Keys that the number of steps in an epoch depends on."""
_CANDIDATE_KEYS = ("text.encoder", "text.max_tokens")
"""Keys that decide which labels are one candidate of a retrieval."""


class SchedulerConfig(Section):
    """Early stopping of trials."""

    name: Literal["asha", "none"] = "asha"
    """asha: successive halving."""
    metric: str | None = None
    """Metric that it compares; default: the objective. Of two objectives it must be named."""
    grace_evaluations: Count = 1
    """Evaluations before asha's first rung."""
    reduction_factor: Annotated[Whole, Field(ge=2)] = 3
    """asha: one in so many continues from each rung, and rungs lie so many times apart."""


class ResourcesConfig(Section):
    """Resources of a trial while it runs."""

    workers: Count = 1
    """Ranks of each trial; they share out train.global_batch_size."""
    cpus: Positive = 1.0
    """CPUs of each worker."""
    gpus: Fraction = 0.0
    """GPUs of each worker, at most 1; a share of one, such as 0.5, only with one worker."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if 0 < self.gpus < 1 and self.workers > 1:
            raise ValueError(
                f"gpus={self.gpus:g} with workers={self.workers}: ranks of one trial cannot share a GPU, "
                "NCCL takes one rank for each; set gpus=1, or workers=1"
            )
        return self


class SweepConfig(Section):
    """Everything that defines a sweep besides the configuration that it changes."""

    space: dict[str, Any] = DEFAULT_SPACE
    """Key -> {choice | uniform | log_uniform | integer: values}."""
    searcher: Literal["random", "grid", "optuna"] = "random"
    """random: independent draws. grid: every combination. optuna: TPE, learns from the trials that ended."""
    num_trials: Count = 16
    """random: draws; optuna: trials in all; grid: not used."""
    seed: Annotated[Seed, Field(lt=2**32)] = 0
    """Seed of the searcher's draws."""
    objective: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("masked/mpjpe_mm",)
    """CONDITION/METRIC of the validation that ranks configurations; two for a Pareto front."""
    seeds: tuple[Seed, ...] = ()
    """Seeds of each configuration if the search treats all alike; else the finalists and the baseline are
    trained anew with each of them. Default: the run's own seed, and nothing anew."""
    finalists: Count = 3
    """Best configurations of the search that are trained anew with each of the seeds."""
    baseline: Flag = True
    """Train the configuration as it is, too."""
    evaluations: Count | None = None
    """Evaluations of each trial, evenly spread: sets train.evaluate_every, whatever the length of the run."""
    scheduler: SchedulerConfig = SchedulerConfig()
    resources: ResourcesConfig = ResourcesConfig()
    max_concurrent: Count | None = None
    """Trials at a time; default: as many as the cluster holds."""
    max_failures: Whole = 3
    """Times that a failed trial is started again, from its last checkpoint."""

    @field_validator("objective", mode="before")
    @classmethod
    def _one_or_two(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def has_confirm_stage(self) -> bool:
        """True if finalists are trained anew, since the search did not treat all alike."""
        is_even = self.searcher != "optuna" and self.scheduler.name == "none"
        return bool(self.seeds) and not is_even

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, values in (("objective", self.objective), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}={list(values)} must be different ones")
        metric = self.scheduler.metric
        if metric is not None and metric not in self.objective:
            raise ValueError(f"scheduler.metric={metric} must be of objective={list(self.objective)}")
        if metric is None and len(self.objective) == 2 and self.scheduler.name != "none":
            raise ValueError(
                f"scheduler.name={self.scheduler.name} compares by one metric: set scheduler.metric to one "
                f"of objective={list(self.objective)}, or scheduler.name=none"
            )
        return self


@dataclass(frozen=True)
class Sweep:
    """A sweep that can start: its settings, and the configuration that it changes."""

    config: RunConfig
    settings: SweepConfig
    """The section, its space as ``Space.to_dict`` has it."""
    space: Space

    def with_values(self, values: Mapping[str, Any]) -> "Sweep":
        """Change dotted keys, such as ``output`` or ``sweep.num_trials``, and check again.

        Raises:
            ConfigError: If they do not go together.
        """
        content = {**self.config.model_dump(mode="json"), "sweep": self.settings.model_dump(mode="json")}
        return build_sweep(with_values(content, values))

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for YAML: ``RunConfig.to_dict`` and the resolved section ``sweep``."""
        return {**self.config.to_dict(), "sweep": self.settings.model_dump(mode="json")}


def load_sweep(files: Path | str | Sequence[Path | str] | None, overrides: Iterable[str] = ()) -> Sweep:
    """Read YAML files, apply ``key.sub=value`` overrides and check the result.

    Args:
        files: One YAML file, or several of which a later one overrides the earlier; ``None``: defaults.
        overrides: ``key.sub=value``, the sweep's keys as ``sweep.key=value``.

    Raises:
        ConfigError: With one line that says what is wrong and what would be right.
    """
    return build_sweep(read_content(files, overrides))


def build_sweep(content: Mapping[str, Any]) -> Sweep:
    """Check plain containers: a run's keys, and the section ``sweep`` or its defaults.

    Raises:
        ConfigError: With one line that says what is wrong and what would be right.
    """
    run = {key: copy.deepcopy(value) for key, value in content.items() if key != "sweep"}
    section = content.get("sweep")
    # One schema for both, so that every mistake is reported at once.
    keys: dict[str, Any] = {"sweep": (SweepConfig, SweepConfig())}
    schema = create_model("SweepRun", __base__=schema_of(run), **keys)
    settings = getattr(check(schema, {**run, "sweep": {} if section is None else section}), "sweep")  # noqa: B009
    config = build_config(run)
    if settings.evaluations is not None and config.train.max_steps is not None:
        every = -(-config.train.max_steps // settings.evaluations)
        run = with_values(run, {"train.evaluate_every": every})
        config = build_config(run)
    space = read_space(settings.space, type(config))
    for metric in settings.objective:
        _check_metric(metric, config)
    _check_candidates(settings, space)
    _check_evaluation_interval(settings, config)
    _check_searcher(settings, config, space)
    _check_seeds_and_devices(settings, config)
    return Sweep(config, settings.model_copy(update={"space": space.to_dict()}), space)


def describe_sweep_keys() -> list[tuple[str, str, str]]:
    """(key, default, description) of every value of the section, for ``--help``."""
    return describe_keys(SweepConfig, "sweep.")


def _check_metric(metric: str, config: RunConfig) -> None:
    left_out = {"loss", "reference"} | (set() if config.loss.is_contrastive else {"retrieval"})
    names = [name for name in load_task(config.task).metrics if METRICS[name].kind not in left_out]
    known = [f"{condition}/{name}" for condition in config.evaluation.conditions for name in names]
    if metric not in known:
        raise ConfigError(
            f"sweep.objective={metric} must be CONDITION/METRIC of the validation, with a condition of "
            f"evaluation.conditions={list(config.evaluation.conditions)} and one of its "
            f"metrics {', '.join(names)} (no loss, whose scale changes with weights and temperature; "
            f"retrieval only with a contrastive term){suggest(metric, known)}"
        )


def _check_evaluation_interval(settings: SweepConfig, config: RunConfig) -> None:
    """Refuse a scheduler that would see no trial before its end."""
    scheduler, train = settings.scheduler, config.train
    if scheduler.name == "none" or (train.evaluate_every is None and settings.evaluations is not None):
        return
    if train.evaluate_every is None:
        raise ConfigError(
            f"sweep.scheduler.name={scheduler.name} compares trials as they run: set train.evaluate_every, "
            "or sweep.evaluations=12 for so many per trial, or sweep.scheduler.name=none"
        )
    grace = train.evaluate_every * scheduler.grace_evaluations
    if train.max_steps is not None and grace > train.max_steps:
        raise ConfigError(
            f"train.evaluate_every={train.evaluate_every} x sweep.scheduler.grace_evaluations="
            f"{scheduler.grace_evaluations} must be at most train.max_steps={train.max_steps}, or no trial "
            "is compared before its end"
        )


def _check_candidates(settings: SweepConfig, space: Space) -> None:
    """Refuse an objective that ranks labels where the trials have different ones to rank."""
    varied = [key for key in _CANDIDATE_KEYS if key in space.dimensions]
    ranking = [metric for metric in settings.objective if metric_of(metric).kind == "retrieval"]
    if varied and ranking:
        raise ConfigError(
            f"sweep.space: {varied[0]} cannot be varied with sweep.objective={ranking[0]}: it changes which "
            "labels can be told apart, so that trials would rank different ones; choose another objective"
        )


def _check_searcher(settings: SweepConfig, config: RunConfig, space: Space) -> None:
    for key, kind in ((key, dimension.kind) for key, dimension in space.dimensions.items()):
        if settings.searcher == "grid" and kind != "choice":
            raise ConfigError(
                f"sweep.space: {key}: {kind} has no end of values for sweep.searcher=grid; use choice, or "
                "sweep.searcher=random"
            )
        if key in _STEP_KEYS and config.train.max_steps is None:
            raise ConfigError(
                f"sweep.space: {key} changes the steps of an epoch, and trials are compared at equal steps: "
                "set train.max_steps"
            )


def _check_seeds_and_devices(settings: SweepConfig, config: RunConfig) -> None:
    if settings.has_confirm_stage and config.seed in settings.seeds:
        raise ConfigError(
            f"sweep.seeds={list(settings.seeds)} must not hold seed={config.seed}, by which the search "
            "chooses its finalists: that run would come again; give others, or another seed"
        )
    if not settings.resources.gpus and config.train.device == "cuda":
        raise ConfigError("train.device=cuda needs a GPU for each worker: set sweep.resources.gpus=1")
