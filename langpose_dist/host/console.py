"""Messages to a person, exit statuses, and output streams that may have lost their reader."""

import contextlib
import os
import sys
from typing import Any

EXIT_INTERRUPTED = 75
"""Exit status of a run that was asked to stop and can be resumed; EX_TEMPFAIL of sysexits.h."""


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


def say(message: str) -> None:
    """Tell a person, from any thread, also where standard error is buffered or gone."""
    try:
        sys.stderr.flush()
        os.write(2, f"langpose: {message}\n".encode())
    except (OSError, ValueError):
        pass
