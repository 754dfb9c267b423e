"""What the training loop knows of experiment tracking."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from langpose_dist.config import RunConfig

Status = Literal["FINISHED", "FAILED", "KILLED"]


@runtime_checkable
class Tracker(Protocol):
    """Records one run; called on rank 0 only. After ``opened`` none of its methods may stop training."""

    def check(self) -> None:
        """See that a run could be recorded.

        Raises:
            UserError: If not.
        """
        ...

    def start(
        self,
        *,
        config: RunConfig,
        run_dir: Path,
        dataset: str,
        data_fingerprint: str,
        environment: Mapping[str, str],
        packages: str,
        origin: Mapping[str, str],
        resumed: bool,
        step: int,
        run_id: str | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        """Begin to record a run, or go on with one."""
        ...

    def opened(self) -> None:
        """Wait until it is known whether the run can be recorded.

        Raises:
            UserError: If not.
        """
        ...

    @property
    def record(self) -> dict[str, str]:
        """What finds the run again; ``run_id`` once the store has given one."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""
        ...

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run."""
        ...

    def register(self, weights: Path, evaluation: Mapping[str, Any]) -> str | None:
        """Enter the exported model in the registry; returns ``name/version``."""
        ...

    def finish(self, status: Status, reason: str = "", *, wait: bool = True) -> None:
        """Close the run, if one was started."""
        ...


class NullTracker:
    """Records nothing."""

    def check(self) -> None:
        """Nothing is needed."""

    def start(self, **kwargs: Any) -> None:
        """No run is opened."""

    def opened(self) -> None:
        """There is nothing to wait for."""

    @property
    def record(self) -> dict[str, str]:
        """Nothing finds it again."""
        return {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing is recorded."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Nothing is kept."""

    def register(self, weights: Path, evaluation: Mapping[str, Any]) -> str | None:
        """Nothing is registered."""
        del weights, evaluation

    def finish(self, status: Status, reason: str = "", *, wait: bool = True) -> None:
        """There is no run to close."""
