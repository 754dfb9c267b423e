"""A run's end, however it comes: its status is written down and its tracker closed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langpose_dist.config import UserError
from langpose_dist.host.console import say
from langpose_dist.host.redaction import presentable, redact
from langpose_dist.runs.folder import RunFolder, RunStatus
from langpose_dist.runs.tracker import Status, Tracker
from langpose_dist.train.checkpoint import saved_step
from langpose_dist.train.distributed.guard import TrainingError
from langpose_dist.train.distributed.processes import Meeting, Processes
from langpose_dist.train.distributed.stop import EarlyStop, Interrupted
from langpose_dist.train.preflight import PreflightError

_PEER_LOST = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|Read error|Connection refused"
    r"|ncclRemoteError|remote process exited"
)
_STATUS: dict[Status, RunStatus] = {
    "FINISHED": "finished",
    "KILLED": "interrupted",
    "FAILED": "failed",
}
_REFUSAL_TIMEOUT_S = 30.0
_CLOSING_TIMEOUT_S = 1800.0
"""Longest wait of the ranks for rank 0 to close the run; a launcher ends them all when the first has left."""


@contextmanager
def refusing_together(meeting: Meeting) -> Iterator[None]:
    """Leave together if preflight refuses the run: a launcher ends rank 0 once another rank has left."""
    try:
        yield
    except PreflightError as refusal:
        if meeting.layout.world_size > 1 and meeting.layout.rank == 0:
            say(f"error: {presentable(str(refusal))}")
            refusal.is_told = True
        meeting.part(_REFUSAL_TIMEOUT_S)
        raise


@contextmanager
def leaving_together(meeting: Meeting) -> Iterator[None]:
    """Leave together at the end that all ranks agreed on; otherwise the others are elsewhere, or gone."""
    with refusing_together(meeting):
        try:
            yield
        except (Interrupted, TrainingError) as end:
            if end.is_agreed:
                meeting.part(_CLOSING_TIMEOUT_S)
            raise
        meeting.part(_CLOSING_TIMEOUT_S)


@contextmanager
def recorded_end(run_dir: Path, tracker: Tracker, processes: Processes) -> Iterator[None]:
    """Write down how the run ended, whatever ends it.

    Raises:
        TrainingError: In place of an error that another rank's end caused, or that the disk did.
    """
    is_peer_lost = False
    end: tuple[Status, str] = ("FAILED", "an error; see its message")
    try:
        yield
        end = ("FINISHED", "")
    except Interrupted as stop:
        end = ("KILLED", str(stop))
        raise
    except EarlyStop as stop:
        end = ("FINISHED", str(stop))
        raise
    except UserError as error:
        end = ("FAILED", str(error))
        raise
    except RuntimeError as error:
        # Gloo's and NCCL's words where another rank ended first; that one has said why.
        is_peer_lost = not isinstance(error, TrainingError) and bool(_PEER_LOST.search(str(error)))
        reason = "another rank ended, so this one cannot continue; resume with --resume"
        end = ("FAILED", reason if is_peer_lost else str(error))
        if is_peer_lost:
            raise TrainingError(reason, is_agreed=False) from None
        raise
    except OSError as error:
        end = ("FAILED", str(error))
        raise TrainingError(f"{error}; resume with --resume", is_agreed=False) from None
    finally:
        status, reason = end[0], redact(end[1])
        if processes.is_main:
            _write(run_dir, status, reason)
            tracker.finish(status, reason)
        elif is_peer_lost and RunFolder(run_dir).read_status() == "running":
            _write(run_dir, status, reason)  # rank 0 is the one that is gone


def record_forced_end(run_dir: Path, tracker: Tracker, status: Status, reason: str, *, is_main: bool) -> None:
    """Last words of a process that ends at once."""
    _write(run_dir, status, reason)
    if is_main:
        tracker.finish(status, redact(reason), wait=False)


def _write(run_dir: Path, status: Status, reason: str) -> None:
    folder = RunFolder(run_dir)
    folder.write_status(_STATUS[status], saved_step(folder.checkpoints), reason)
