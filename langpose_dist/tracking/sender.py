"""A process beside a training that mirrors its folder into MLflow.

It is a process of its own so that neither MLflow's work nor a server that hangs holds a step up, and so that
a run whose process was killed is closed all the same.
"""

import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from langpose_dist.config import UserError
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking import OWN_SETTINGS
from langpose_dist.tracking.record import (
    ORPHAN_TIMEOUT_S,
    MirrorState,
    RunRecord,
    read_state,
    sender_lock,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SEND_INTERVAL_S = 5.0
"""Between two looks at the folder that nobody asked for."""
_POLL_INTERVAL_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_RESTART_INTERVAL_S = 60.0

_logger = logging.getLogger(__name__)


class Sender:
    """Starts the sending process of a run, wakes it, and starts it again if it was killed.

    Args:
        run_dir: The run's folder, which holds its record.
        uri: Where to send it; resolved, may hold credentials.
        attempt: Number of this attempt at the run.
    """

    def __init__(self, run_dir: Path, uri: str, attempt: int) -> None:
        self._run_dir = run_dir
        self._uri = uri
        self._attempt = attempt
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def wake(self) -> None:
        """Have what is in the folder sent now."""
        self.keep_running()
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.write(b"\n")

    def close(self) -> None:
        """Announce the end: the process ends when all is sent, or a few seconds from now."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        threading.Thread(target=self._process.wait, name="sender", daemon=True).start()

    def keep_running(self) -> None:
        """Start the process again if something ended it; not more than once a minute."""
        is_running = self._process is not None and self._process.poll() is None
        if not is_running and time.monotonic() > self._started_at + _RESTART_INTERVAL_S:
            _logger.warning("the process that sends metrics to MLflow was ended; it is started again")
            self.close()
            self.start()

    def start(self) -> None:
        """Start the process, once the folder holds a record."""
        self._started_at = time.monotonic()
        try:
            self._process = self._popen()
        except OSError as error:  # too many processes, a full disk: training continues, and it is tried again
            _logger.warning("nothing is sent to MLflow for now: %s", error.strerror or error)

    def _popen(self) -> "subprocess.Popen[bytes]":
        # The address may hold a password, so it goes where only this user can read it.
        inherited = {name: value for name, value in os.environ.items() if name not in OWN_SETTINGS}
        environment = inherited | {
            "MLFLOW_TRACKING_URI": self._uri,
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        words = [str(self._run_dir.absolute()), str(self._attempt), str(os.getpid())]
        place = RunFolder(self._run_dir).tracking / "sender.log"
        with open(os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "langpose_dist.tracking.sender", *words],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                bufsize=0,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the training
            )


def main(run_dir: Path, attempt: int, parent: int) -> int:
    """Send until the run's record says that this attempt has ended, or its process is gone."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # launchers send them to all processes below a rank
    os.nice(5)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    training = _Training(parent)

    from langpose_dist.tracking.client import one_line
    from langpose_dist.tracking.mirror import mirror, note_problem

    folder = RunFolder(run_dir)
    lock = sender_lock(folder)
    lock.acquire()  # the attempt before this one may still be closed
    client = None
    pause = 0.0
    while True:
        is_gone = training.is_gone  # asked first: its last words may come while this one sends
        try:
            client = client or _connect()
            is_over = is_gone and _is_newest(folder, attempt)
            state = mirror(folder, client, is_over=is_over, if_changed=True)
            pause = 0.0
            if is_gone or _is_closed(folder, attempt, state):
                return 0
        except Exception as error:  # MLflow's, its drivers', the disk's: all of them may pass
            pause = min(_LONGEST_PAUSE_S, 2 * pause or _FIRST_PAUSE_S)
            _logger.warning("%s: %s", type(error).__name__, one_line(error))
            if client is None:
                note_problem(folder, read_state(folder), error)
        training.wait(pause or _SEND_INTERVAL_S)


def _is_newest(folder: RunFolder, attempt: int) -> bool:
    """True if no later attempt at the run has begun."""
    record = RunRecord.read(folder)
    return record is not None and len(record.attempts) == attempt


def _is_closed(folder: RunFolder, attempt: int, state: MirrorState) -> bool:
    """True if the store has the end of the attempt, or a later attempt has a sender of its own."""
    record = RunRecord.read(folder)
    if record is None or len(record.attempts) != attempt:
        return True
    return record.last.status is not None and state.version == record.version


def _connect() -> "MlflowClient":
    from langpose_dist.tracking.client import connect, expect_large_files, resolve_uri

    # One request, one answer: the sender repeats what failed itself, and better.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    expect_large_files()
    return connect(resolve_uri(None), create=True)


class _Training:
    """The training that this process sends for: a line on standard input wakes this one, its end ends it.

    A thread watches it, so that nothing that this process waits for keeps it alive.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._woken = threading.Event()
        self.is_gone = False
        """True if it has ended, or has nothing more to send."""
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Until it wakes this process, ends, or the time is over."""
        self._woken.wait(seconds)
        if not self.is_gone:
            self._woken.clear()
        elif seconds:
            time.sleep(min(seconds, _FIRST_PAUSE_S))

    def _watch(self) -> None:
        while os.getppid() == self._pid:
            ready, _, _ = select.select([0], [], [], _POLL_INTERVAL_S)
            if ready and not os.read(0, 4096):
                break
            if ready:
                self._woken.set()
        self.is_gone = True
        self._woken.set()
        time.sleep(ORPHAN_TIMEOUT_S)
        os._exit(1)  # what it was sending is sent again


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    except UserError as problem:
        sys.exit(str(problem))
