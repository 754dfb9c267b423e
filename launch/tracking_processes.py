"""The processes that a tracking server is made of: none of them outlives the script that started it."""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stop_signal: int,
    patience: float,
    user: str | None = None,
    output: IO[bytes] | None = None,
    keep_open: int,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is ended, with all that it started, when the block ends.

    Args:
        command: Its words.
        env: Its whole environment.
        stop_signal: Asks it to end; it gets this one also when this process dies.
        patience: Seconds until it is killed instead.
        user: Whom it runs as; by default as this process.
        output: Takes what it prints; by default this process's own output.
        keep_open: A file descriptor that it inherits.
    """
    child = subprocess.Popen(
        command,
        env=env,
        user=user,
        group=user,
        extra_groups=None if user is None else (),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        # Ctrl-C reaches this process alone, which ends its children in order.
        start_new_session=True,
        preexec_fn=_end_with_parent(stop_signal),
        pass_fds=(keep_open,),
    )
    try:
        yield child
    finally:
        _end(child, stop_signal, patience)


def _end_with_parent(stop_signal: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:  # it died before it could be said
            os._exit(1)

    return prepare


def _end(child: subprocess.Popen[bytes], stop_signal: int, patience: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(stop_signal)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(patience)
    # What is left of its session: all of it where the patience is over, and otherwise nothing.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
