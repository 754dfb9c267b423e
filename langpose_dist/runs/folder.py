"""The folder of one run: names of all that it holds, its lock, status and record."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from langpose_dist.config import UserError
from langpose_dist.host.atomic import write_record, write_text
from langpose_dist.host.console import EXIT_INTERRUPTED

RunStatus = Literal["running", "finished", "interrupted", "failed"]
"""Status of a run, in ``status.json``."""
_ROOM = 4000
_REASON_LENGTH = 600
"""Characters of a reason that fit into the room, six bytes each where they are no ASCII."""
EXIT_CODES: Mapping[RunStatus, int] = {"finished": 0, "failed": 1, "interrupted": EXIT_INTERRUPTED}


class RunFolder:
    """The folder of one run.

    Args:
        path: The folder; nothing is created.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.lock_file = self.path / ".lock"
        """Locked by the training, or the sweep, that has the folder to itself."""
        self.stop = self.path / "stop"
        """A file of this name asks the run to stop."""
        self.status = self.path / "status.json"
        """Status of the run, for whoever started it; launchers swallow exit codes."""
        self.record = self.path / "run.json"
        """The run's environment, and what finds it in its tracking store."""
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.weights = self.path / "model.safetensors"
        self.evaluation = self.path / "evaluation.json"
        self.captions = self.path / "captions.jsonl"
        """Generated captions of the last evaluation, of tasks that have some."""
        self.curves = self.path / "curves.png"
        self.pictures = self.path / "pictures"
        self.tracking = self.path / "tracking"
        """State of the copy in the tracking store; see ``langpose_dist.tracking.record``."""

    def lock(self, timeout_s: float) -> FileLock:
        """Lock that one training holds; the system frees it when that process ends."""
        return FileLock(self.lock_file, timeout=timeout_s)

    def is_in_use(self) -> bool:
        """True if a training, or a sweep, holds the lock at this moment."""
        if not self.lock_file.exists():
            return False
        try:
            with self.lock(0.0):
                return False
        except (Timeout, OSError):
            return True

    def read_status(self) -> str | None:
        """Status of the run; ``None`` where no file says it."""
        status = _read_object(self.status).get("status")
        return None if status is None else str(status)

    def read_reason(self) -> str:
        """Why the run ended early; empty where no file says it."""
        return str(_read_object(self.status).get("reason", ""))

    def write_status(self, status: RunStatus, step: int, reason: str = "") -> None:
        """Replace the status; on a full disk it takes the place of the one before.

        Args:
            status: How the run stands.
            step: Updates that are done and kept.
            reason: Why it ended early.
        """
        content = {"status": status, "step": step, "reason": reason, "exit_code": EXIT_CODES.get(status)}
        for length in (len(reason), _REASON_LENGTH):
            content["reason"] = reason[:length]
            with contextlib.suppress(OSError):
                write_record(self.status, content, room=_ROOM)
                return

    def read_record(self) -> dict[str, Any]:
        """The run's environment and tracking record; empty where the file is missing or cut off."""
        return _read_object(self.record)

    def write_record(self, record: Mapping[str, str], environment: Mapping[str, str]) -> None:
        """Replace the record; a start without tracking keeps the tracking record of those before it."""
        before = {key: value for key, value in self.read_record().items() if key != "environment"}
        content = {**before, **record, "environment": environment}
        write_text(self.record, json.dumps(content, indent=2))

    def read_evaluation(self) -> dict[str, Any] | None:
        """The last evaluation; ``None`` where there is none.

        Raises:
            UserError: If the file holds no JSON object.
        """
        try:
            content = json.loads(self.evaluation.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{self.evaluation} cannot be read: {error}") from None
        if not isinstance(content, dict):
            raise UserError(f"{self.evaluation} must hold a JSON object")
        return content


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
