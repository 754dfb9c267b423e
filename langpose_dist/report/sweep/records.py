"""The folder of a sweep, read and checked: plain JSON, without Ray and without running anything."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from langpose_dist.config import UserError, read_content

FORMAT = 1
SWEEP_FILE = "sweep.json"
TRIAL_FILE = "trial.json"

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)


class Evaluation(_Record):
    """One evaluation of a trial."""

    step: _Count
    metrics: dict[str, float]
    """Such as ``masked/mpjpe_mm``, without the split."""

    @property
    def finite(self) -> dict[str, float]:
        """Metrics that are finite."""
        return {name: value for name, value in self.metrics.items() if math.isfinite(value)}


class _File(_Record):
    format: Literal[1] = Field(default=1, exclude=True)


class TrialRecord(_File):
    """One training of a sweep: a configuration with a seed."""

    trial_id: str
    number: _Count
    stage: Literal["search", "confirm"]
    is_baseline: bool
    params: dict[str, JsonValue]
    """Key of the configuration -> value; empty for the baseline."""
    seed: int
    status: Literal["pending", "running", "finished", "stopped", "failed", "diverged", "interrupted"]
    reason: str = ""
    step: _Count = 0
    rung: _Count | None = None
    failures: _Count = 0
    seconds: _Seconds = 0.0
    """Time for which it held its devices."""
    num_devices: Annotated[int, Field(ge=1)] = 1
    device: str = "CPU"
    evaluations: tuple[Evaluation, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        steps = [evaluation.step for evaluation in self.evaluations]
        if steps != sorted(set(steps)):
            raise ValueError("the steps of its evaluations do not rise")
        return self

    @property
    def is_lost(self) -> bool:
        """True if it failed or diverged."""
        return self.status in ("failed", "diverged")

    @property
    def device_seconds(self) -> float:
        """Seconds times devices."""
        return self.seconds * self.num_devices

    def values_at(self, step: int) -> dict[str, float]:
        """Finite metrics of the evaluation at a step; empty without one."""
        return next((evaluation.finite for evaluation in self.evaluations if evaluation.step == step), {})

    def steps_with(self, metrics: Sequence[str]) -> list[int]:
        """Steps at which every one of the metrics is finite."""
        return [
            evaluation.step for evaluation in self.evaluations if set(metrics) <= evaluation.finite.keys()
        ]


@dataclass(frozen=True)
class Dimension:
    """One key of a search space."""

    key: str
    kind: str
    """choice, integer, log_uniform or uniform."""
    values: tuple[Any, ...]
    """The listed values of a choice; both ends of a range."""

    @property
    def is_range(self) -> bool:
        """True if values come from a range of numbers."""
        return self.kind != "choice"


class Scheduler(_Record):
    """The rule that stops trials early."""

    name: str = "none"
    metric: str | None = None
    grace_evaluations: int | None = None
    reduction_factor: float | None = None


class Resources(_Record):
    """Workers of each trial; CPUs and GPUs of each worker."""

    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


class Origin(_Record):
    """Data, configuration and code of the trials."""

    dataset: str | None = None
    fps: float | None = None
    data_fingerprint: str | None = None
    config_hash: str | None = None
    commit: str | None = None
    commit_dirty: bool | str | None = None
    source_2d: str | None = None


class Tracking(_Record):
    """The sweep's own run in MLflow."""

    run_id: str | None = None
    run_uid: str | None = None
    tracking_uri: str | None = None


class Best(_Record):
    """Choice of the sweep's driver."""

    trials: tuple[str, ...]
    params: dict[str, JsonValue] = {}
    values: dict[str, float | None] = {}
    registered: str | None = None


class SweepRecord(_File):
    """``sweep.json``: the settings of a sweep and its state."""

    status: Literal["running", "finished", "interrupted", "failed"]
    reason: str = ""
    started: str = ""
    seconds: _Seconds = 0.0
    """Wall-clock time of its driver, over all attempts."""
    attempts: _Count = 1
    objective: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    split: str = "unknown"
    searcher: str = "unknown"
    seed: int = 0
    """Seed of the searcher's own draws."""
    scheduler: Scheduler = Scheduler()
    rungs: tuple[_Count, ...] = ()
    num_steps: Annotated[int, Field(ge=1)]
    """Steps of a whole trial."""
    evaluate_every: int | None = None
    planned: _Count = 0
    """Trials of the search, with the baseline."""
    space: dict[str, dict[str, Any]] = {}
    """Key -> kind -> its listed values, or both ends of a range."""
    seeds: tuple[int, ...] = ()
    finalists: _Count = 0
    resources: Resources = Resources()
    max_concurrent: int | None = None
    origin: Origin = Origin()
    environment: dict[str, str] = {}
    tracking: Tracking = Tracking()
    best: Best | None = None
    baseline_params: dict[str, JsonValue] = {}
    """Values that the space's keys have in the configuration as it is; from ``sweep.yaml``."""

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The search space, key by key."""
        return tuple(
            Dimension(key, kind, tuple(values))
            for key, entry in self.space.items()
            for kind, values in entry.items()
        )


@dataclass(frozen=True)
class SweepFolder:
    """Content of a sweep's folder."""

    path: Path
    sweep: SweepRecord
    trials: tuple[TrialRecord, ...]
    """By their numbers, those of the search first."""
    warnings: tuple[str, ...]
    """Trials that were left out, with the reason."""


def read_sweep(run_dir: Path) -> SweepFolder:
    """Read a sweep's folder, finished or not.

    A trial without a whole ``trial.json`` is left out with a warning.

    Args:
        run_dir: The sweep's folder.

    Raises:
        UserError: If it is none.
    """
    if not (run_dir / SWEEP_FILE).is_file():
        raise UserError(f"{run_dir} has no {SWEEP_FILE}; name the output folder of a sweep")
    sweep = _parse(run_dir / SWEEP_FILE, SweepRecord)
    trials, warnings = [], []
    for path in sorted(path for path in run_dir.glob("trials/*") if path.is_dir()):
        try:
            trials.append(_parse(path / TRIAL_FILE, TrialRecord))
        except UserError as error:
            warnings.append(f"left out: {error}")
    trials.sort(key=lambda trial: (trial.stage != "search", trial.number, trial.trial_id))
    sweep = sweep.model_copy(update={"baseline_params": _read_baseline(run_dir, sweep)})
    return SweepFolder(run_dir, sweep, tuple(trials), tuple(warnings))


_FileType = TypeVar("_FileType", bound=_File)


def _parse(path: Path, record: type[_FileType]) -> _FileType:
    try:
        return record.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged: {place or 'record'}: {first['msg']}") from None


def _read_baseline(run_dir: Path, sweep: SweepRecord) -> dict[str, Any]:
    """Values of the space's keys in ``sweep.yaml``; what cannot be read is left out."""
    try:
        content = read_content(run_dir / "sweep.yaml")
    except UserError:
        return {}
    found = {key: _look_up(content, key) for key in sweep.space}
    return {key: value for key, value in found.items() if value is not None}


def _look_up(content: Any, key: str) -> Any:
    for name in key.split("."):
        content = content.get(name) if isinstance(content, dict) else None
    return content


def say_value(value: Any) -> str:
    """A parameter's value, rounded for a person."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(say_value, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def say_count(number: int, noun: str) -> str:
    """Number and noun, such as ``1 trial`` and ``2 trials``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Keys by their last word where it tells them apart, else whole."""
    last_words = {key: key.rpartition(".")[2] for key in keys}
    counts = Counter(last_words.values())
    return {key: word if counts[word] == 1 else key for key, word in last_words.items()}
