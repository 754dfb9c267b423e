"""The seam between a run and its experiment tracking."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from langpose_dist.config import RunConfig

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""End of a recorded run, in MLflow's words."""


def _never() -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """One attempt at a run, as its tracker is told of it."""

    config: RunConfig
    """Resolved."""
    run_dir: Path
    """The run's folder; its name is the run's name where none is configured."""
    dataset: str
    """Name of the training data."""
    data_fingerprint: str
    environment: Mapping[str, str]
    """From ``describe_environment``."""
    packages: str
    """Exact versions of all installed packages, as pip's constraints."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Header of the initial weights; empty without any."""
    is_resumed: bool = False
    """True if the run that the folder holds is resumed."""
    step: int = 0
    """First step of the attempt."""
    run_id: str | None = None
    """Run in the store to continue where the folder has no record of it."""
    is_stopping: Callable[[], bool] = _never
    """True once the run was asked to stop, so that nothing is waited for longer."""


@runtime_checkable
class Tracker(Protocol):
    """Records one run; called on rank 0 only. After ``opened`` none of its methods may stop training."""

    def check(self) -> None:
        """Check that a run can be recorded.

        Raises:
            UserError: If not.
        """

    def start(self, info: RunInfo) -> None:
        """Begin to record a run, or resume one; the values in its ``metrics.jsonl`` are recorded too."""

    def opened(self) -> None:
        """Wait until it is known whether the run can be recorded.

        Raises:
            UserError: If not.
        """

    @property
    def record(self) -> dict[str, str]:
        """Names of the run in its store; ``run_id`` once the store has given one."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step that ``metrics.jsonl`` does not hold."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run."""

    def register(self, weights: Path, evaluation: Mapping[str, Any]) -> str | None:
        """Enter the exported model in the registry; returns ``name/version``."""

    def finish(self, status: Status, reason: str = "", *, wait: bool = True) -> None:
        """Close the run, if one was started."""


class NullTracker(Tracker):
    """Records nothing."""

    @property
    def record(self) -> dict[str, str]:
        return {}
