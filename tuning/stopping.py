"""Requests to stop a sweep: signals, and a file in its folder."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from langpose_dist.host.console import say
from langpose_dist.runs.folder import RunFolder

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class SweepInterrupted(Exception):
    """The sweep was asked to stop; ``--resume`` continues it."""


class Stopping:
    """Listens for requests to stop while it is entered, in the main thread.

    While Tune's loop runs, a request ends the loop in Tune's own way, so that trials end in order. At any
    other time it raises ``SweepInterrupted`` where the sweep is. A second Ctrl-C ends the sweep at once.

    Args:
        output: The sweep's folder. A stop file that is already there is of an earlier time.
    """

    def __init__(self, output: Path) -> None:
        self.reason: str | None = None
        """Source of the request; ``None`` without one."""
        self._file = RunFolder(output).stop
        self._touched_before = self._touched()
        self._is_in_loop = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def in_loop(self) -> Iterator[None]:
        """Mark that Tune's loop runs; it takes SIGUSR1 for itself."""
        self._is_in_loop = True
        self.listen()
        try:
            yield
        finally:
            self._is_in_loop = False
            self.listen()

    def look(self) -> None:
        """Notice a stop file; remind Tune's loop, which calls this, of a request that it missed."""
        if self.reason is not None and self._is_in_loop:
            os.kill(os.getpid(), signal.SIGUSR1)  # it came before Tune listened
        elif self._touched() not in (None, self._touched_before):
            self.ask("the stop file")

    def ask(self, reason: str) -> None:
        """Stop, once."""
        if self.reason is not None:
            return
        self.reason = reason
        say(f"{reason}: stopping the sweep; resume with --resume")
        if not self._is_in_loop:
            raise SweepInterrupted(reason)
        os.kill(os.getpid(), signal.SIGUSR1)

    def listen(self) -> None:
        """Listen again: Ray takes SIGTERM for itself when it starts, Tune SIGUSR1."""
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.reason is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.ask(signal.Signals(number).name)

    def _touched(self) -> int | None:
        with contextlib.suppress(OSError):
            return self._file.stat().st_mtime_ns
        return None
