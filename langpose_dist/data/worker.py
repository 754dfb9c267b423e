"""Process behaviour of loader workers: they ignore signals and end with their parent."""

import multiprocessing
import os
import signal
import sys

IGNORED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Signals that launchers send to every process below a rank."""


def belong_to_parent(worker_id: int = 0) -> None:
    """Tie a worker to its parent; run in each worker when it starts.

    A worker that obeyed the launcher's signals would break the step in which its rank saves.
    """
    signal.set_wakeup_fd(-1)  # else the parent is woken by this process's signals
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere torch checks for the parent every 5 seconds
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)  # it ended before the request took effect
