"""Messages to a person, exit statuses, and standard streams that may be missing, closed or full."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_INTERRUPTED = 75
"""Exit status of a run that was asked to stop and can be resumed; EX_TEMPFAIL of sysexits.h."""


@contextmanager
def starting(*, is_process: bool) -> Iterator[None]:
    """Open the streams that are missing, and have a Ctrl-C end the process without a word meanwhile.

    Args:
        is_process: True if this process is there for the command alone.
    """
    _open_missing_streams()
    # While modules are imported there is nothing to save, and a traceback of an import says nothing.
    is_alone = is_process and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_alone:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if is_alone:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _open_missing_streams() -> None:
    """Send what a closed stream is given to nowhere: else the next file that is opened gets it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(nowhere, True)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (for the process's life)


def flush_streams() -> OSError | None:
    """Write what is buffered, and drop what cannot be written, which the interpreter would report at its end.

    Returns:
        Why standard output did not take it.
    """
    errors: list[OSError | None] = []
    for stream in (sys.stderr, sys.stdout):
        errors.append(None)
        try:
            stream.flush()
        except OSError as error:
            errors[-1] = error
            _drop(stream)
        except ValueError:  # closed
            pass
    return errors[-1]


def _drop(stream: Any) -> None:
    """Send a stream's buffer, and all that follows, to nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
        stream.flush()
    finally:
        os.close(nowhere)


class BestEffortStream:
    """A text stream that drops what it cannot write, after a terminal or a pipe has closed.

    A terminal that closes or an ssh connection that is cut must not make the step fail in which the run
    is saved.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def best_effort_output() -> Iterator[None]:
    """Let nobody's reading the output end what is done meanwhile."""
    output, sys.stdout = sys.stdout, BestEffortStream(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = output
        flush_streams()


def say(message: str) -> None:
    """Tell a person, from any thread, also where standard error is buffered or gone."""
    try:
        sys.stderr.flush()
        os.write(2, f"langpose: {message}\n".encode())
    except (OSError, ValueError):
        pass
