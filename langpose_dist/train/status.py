"""``status.json``: how a run stands, for whoever started it; launchers swallow exit codes."""

import json
import os
from pathlib import Path
from typing import Literal

from langpose_dist.train.stop import EXIT_INTERRUPTED

EXIT_CODES = {"finished": 0, "failed": 1, "interrupted": EXIT_INTERRUPTED}


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
        partial.unlink(missing_ok=True)
