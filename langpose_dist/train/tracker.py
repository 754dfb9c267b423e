"""What the training loop knows of experiment tracking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from langpose_dist.config import RunConfig

Status = Literal["FINISHED", "FAILED", "KILLED"]


@runtime_checkable
class Tracker(Protocol):
    """Records one run; called on rank 0 only. After ``start`` none of its methods may stop training."""

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
        data_fingerprint: str,
        environment: Mapping[str, str],
        run_id: str | None,
    ) -> dict[str, str]:
        """Open a run, or go on with ``run_id``; returns what finds its record again."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values at a step."""
        ...

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run."""
        ...

    def register(self, weights: Path) -> str | None:
        """Enter the exported model in the registry; returns ``name/version``."""
        ...

    def finish(self, status: Status) -> None:
        """Close the run."""
        ...


class NullTracker:
    """Records nothing."""

    def check(self) -> None:
        """Nothing is needed."""

    def start(
        self,
        *,
        config: RunConfig,
        run_dir: Path,
        data_fingerprint: str,
        environment: Mapping[str, str],
        run_id: str | None,
    ) -> dict[str, str]:
        """No run is opened."""
        return {}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Nothing is recorded."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Nothing is kept."""

    def register(self, weights: Path) -> str | None:
        """Nothing is registered."""
        del weights

    def finish(self, status: Status) -> None:
        """There is no run to close."""
