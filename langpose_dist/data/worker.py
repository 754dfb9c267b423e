"""How a loader worker behaves as a process: it obeys its parent alone, and ends with it."""

import multiprocessing
import os
import signal
import sys

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def belong_to_parent(worker_id: int = 0) -> None:
    """Called in each worker when it starts.

    Launchers send their signals to every process below a rank; a worker that obeyed would break the step
    in which its rank saves.
    """
    signal.set_wakeup_fd(-1)  # else the parent hears of this process's signals
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere torch looks for the parent every 5 seconds
        import ctypes

        set_parent_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)  # it ended before it could be said
