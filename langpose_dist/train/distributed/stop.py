"""Who asks a run to stop before its end: signals, a stop file, the death of the launcher.

Only the standard library and psutil are imported, so that a process listens before anything heavy loads.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from langpose_dist.host.console import EXIT_INTERRUPTED, say

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_FILE, _LAUNCHER = 100, 101
_SECOND_SIGNAL_AFTER = 2.0
"""Seconds; what comes sooner is the launcher passing on the same signal."""
_POLL_SECONDS = 0.5


class Interrupted(BaseException):
    """The run was asked to stop. Not an ``Exception``: no library may take it for a failure of its own.

    ``is_agreed`` where every rank raises it at the same place.
    """

    def __init__(self, reason: str, *, is_agreed: bool = True) -> None:
        super().__init__(reason)
        self.is_agreed = is_agreed


class EarlyStop(BaseException):
    """Whoever watches the evaluations wants no more of them. Not an ``Exception``, as ``Interrupted``."""


class StopRequest:
    """Listens for requests to stop, from the moment it is made until it is closed.

    A thread hears of signals even while the main thread waits inside a library. Until ``run_on`` a request
    raises ``Interrupted`` in the main thread at once, since there is nothing to save; from then on the
    training loop asks for ``code`` at each of its steps. If it does not come to that within ``grace``
    seconds, or at a second signal, the process ends there and then.

    Args:
        stop_file: Asks for a stop when it appears or is touched; ``None`` to watch none. One that is there
            already is of an earlier time, or meant for the job that still holds the folder: it asks nothing
            of this one.
        grace: Seconds from the request to the end of a process that does not come to a step's end.
        on_forced_exit: Called with a reason in front of such an end.
    """

    def __init__(self, stop_file: Path | None = None, *, grace: float = 20.0) -> None:
        self.stop_file = stop_file
        self.grace = grace
        self.on_forced_exit: Callable[[str], Any] = lambda reason: None
        self.code = 0
        """Source of the request to stop; 0 without one."""
        self._raises = True
        self._is_saving = False
        self._since = 0.0
        self._links = launcher_links()
        self._closed = threading.Event()
        self._touched_before = self._touched()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._before: dict[int, Any] = {}
        self._wakeup_before: int | None = None
        # Python gives signals to the main thread alone; in another one whoever owns the process stops it.
        if threading.current_thread() is threading.main_thread():
            self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            # A shell that starts a job in the background, or nohup, has the signal ignored: so be it.
            self._before = {
                number: signal.signal(number, self._on_signal)
                for number in _SIGNALS
                if signal.getsignal(number) is not signal.SIG_IGN
            }
        self._thread = threading.Thread(target=self._watch, name="stop-request", daemon=True)
        self._thread.start()

    def run_on(self) -> None:
        """From here on a request waits for the training loop.

        Raises:
            Interrupted: If one came before.
        """
        self._raises = False
        if self.code:
            raise Interrupted(describe(self.code), is_agreed=False)

    def saving(self) -> None:
        """Note that the run is being saved: the process is no longer ended for being slow."""
        self._is_saving = True

    def close(self) -> None:
        """Stop listening, and put back what was there before."""
        if self._closed.is_set():
            return
        self._closed.set()
        if self._wakeup_before is not None:
            signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.write(self._writer, b"\0")
        self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.code = self.code or number
        if self._raises:
            self._raises = False  # once
            raise Interrupted(describe(self.code), is_agreed=False)

    def _watch(self) -> None:
        while not self._closed.is_set():
            ready, _, _ = select.select([self._reader], [], [], _POLL_SECONDS)
            for number in os.read(self._reader, 256) if ready else b"":
                if number in self._before:
                    self._request(number)
            if not self.code and self._touched() not in (None, self._touched_before):
                self._request(_FILE)
            if not self.code and not all(_holds(link) for link in self._links):
                self._request(_LAUNCHER)
            # The handler may have set the code while this thread looked elsewhere: it hears of it next.
            is_late = self._since and time.monotonic() > self._since + self.grace
            if self.code and is_late and not self._is_saving:
                self._end(
                    f"{describe(self.code)}, but no step ended within {self.grace:g} s; left without saving",
                    EXIT_INTERRUPTED,
                )

    def _touched(self) -> int | None:
        try:
            return None if self.stop_file is None else self.stop_file.stat().st_mtime_ns
        except OSError:  # a folder that cannot be used is reported later
            return None

    def _request(self, code: int) -> None:
        now = time.monotonic()
        if self._since == 0.0:
            self._since = now
            self.code = code
            if code in (_FILE, _LAUNCHER) and self._raises and self._before:
                os.kill(os.getpid(), next(iter(self._before)))  # its handler raises in the main thread
        elif code < _FILE and now > self._since + _SECOND_SIGNAL_AFTER:
            self._end(f"a second signal ({describe(code)}); left at once", 128 + code)

    def _end(self, reason: str, status: int) -> None:
        say(f"{reason}; the last checkpoint is whole, resume with --resume")
        try:
            self.on_forced_exit(reason)
        finally:
            os._exit(status)


def describe(code: int) -> str:
    """Name of a request's source."""
    if code == _FILE:
        return "the stop file"
    if code == _LAUNCHER:
        return "the launcher's end"
    return signal.Signals(code).name


Link = tuple[psutil.Process, int]
"""A process and the process that started it."""


def launcher_links() -> list[Link]:
    """The chain from this process up to the outermost launcher, link by link; empty without a launcher.

    The ``deepspeed`` command starts ``deepspeed.launcher.launch``, which starts the ranks; a signal to the
    first reaches neither of the others, so every link counts. Over pdsh and ssh the remote shell and its
    server belong to the chain as well.
    """
    links: list[Link] = []
    length = 0
    try:
        process = psutil.Process()
        while (parent := process.parent()) is not None and parent.pid != 1:
            words = parent.cmdline()
            links.append((process, parent.pid))
            if _is_launcher(words):
                length = len(links)
            elif not (length and _is_remote_shell(parent, words)):
                break
            else:
                length = len(links)
            process = parent
    except psutil.Error:
        pass
    return links[:length]


def _is_launcher(words: Sequence[str]) -> bool:
    modules = ("deepspeed.launcher.launch", "deepspeed.launcher.runner", "torch.distributed.run")
    commands = ("deepspeed", "torchrun")
    return any(word in modules or os.path.basename(word) in commands for word in words[:4])


def _is_remote_shell(process: psutil.Process, words: Sequence[str]) -> bool:
    return process.name().startswith("sshd") or (len(words) > 1 and words[1] == "-c")


def _holds(link: Link) -> bool:
    process, parent = link
    try:
        return process.ppid() == parent
    except psutil.Error:
        return False
