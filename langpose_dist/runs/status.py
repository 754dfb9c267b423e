"""``status.json``: how a run stands, for whoever started it; launchers swallow exit codes."""

import contextlib
import json
import os
from pathlib import Path
from typing import Literal

from langpose_dist.host.console import EXIT_INTERRUPTED

EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": EXIT_INTERRUPTED}


def read_status(run_dir: Path) -> str | None:
    """How the run stands, as its file says."""
    try:
        return json.loads((run_dir / "status.json").read_text(encoding="utf-8"))["status"]
    except (OSError, ValueError, KeyError):
        return None


def read_reason(run_dir: Path) -> str:
    """Why the run ended early, as its file says; empty if it does not."""
    try:
        return str(json.loads((run_dir / "status.json").read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, KeyError):
        return ""


def write_status(
    run_dir: Path,
    status: Literal["running", "finished", "interrupted", "failed"],
    step: int,
    reason: str = "",
) -> None:
    """Replace the file; a disk that is full is no reason to fail.

    Args:
        run_dir: The run's folder.
        status: How the run stands.
        step: Updates that are done and kept.
        reason: Why it ended early.
    """
    path = run_dir / "status.json"
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    content = {"status": status, "step": step, "reason": reason, "exit_code": EXIT_CODES.get(status)}
    try:
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
