"""The processes of one command, watched while it runs: what they take of the cores."""

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_TRIAL = "ImplicitFunc"
"""In the name that Ray gives to a trial's process."""
_SECONDS = 1.0


def family_of(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it is gone."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_trial(process: psutil.Process) -> bool:
    """True if Ray runs a trial in it."""
    try:
        return any(_TRIAL in word for word in process.cmdline()[:1])
    except psutil.Error:
        return False


class FamilyWatch:
    """Writes down once a second what a command and all that came from it have taken, until it is closed.

    A process stays in the sum when its parent or itself has ended. What it took in its last second may be
    missing.

    Args:
        pid: Of the command.
        path: JSON lines are appended to it.
    """

    def __init__(self, pid: int, path: Path) -> None:
        self._pid = pid
        self._path = path
        self._known: dict[tuple[int, float], psutil.Process] = {}
        self._cpu: dict[tuple[int, float], float] = {}
        self._waited: dict[tuple[int, float], float] = {}
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._is_closed.set()
        self._thread.join()

    def _run(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            while True:
                file.write(json.dumps(self._look()) + "\n")
                file.flush()
                if self._is_closed.wait(_SECONDS):
                    return

    def _look(self) -> dict[str, Any]:
        for process in family_of(self._pid):
            try:
                self._known.setdefault((process.pid, process.create_time()), process)
            except psutil.Error:
                continue
        num_trials = 0
        for key, process in list(self._known.items()):
            try:
                times = process.cpu_times()
            except psutil.Error:
                del self._known[key]
                continue
            self._cpu[key] = max(self._cpu.get(key, 0.0), times.user + times.system)
            if is_trial(process):
                num_trials += 1
                self._waited[key] = max(self._waited.get(key, 0.0), _seconds_in_queue(process.pid))
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        return {
            "time": time.time(),
            "family_cpu": sum(self._cpu.values()),
            "trial_waited": sum(self._waited.values()),
            "num_trials": num_trials,
            "machine_busy": machine.user + machine.system + machine.nice,
            "machine_idle": idle,
        }


def _seconds_in_queue(pid: int) -> float:
    """For which the threads of a process were ready to run and had no core; 0 where Linux does not tell."""
    total = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total += int((thread / "schedstat").read_text().split()[1])
    except (OSError, IndexError):
        pass
    return total / 1e9


def read_watch(path: Path) -> list[dict[str, Any]]:
    """Lines that a watch wrote; empty without one."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def busy_shares(
    lines: Sequence[dict[str, Any]], num_cores: int, begin: float, end: float
) -> dict[str, float] | None:
    """How busy the cores were between two times.

    Args:
        lines: From ``read_watch``.
        num_cores: That the command could use.
        begin: Seconds since the epoch.
        end: The same.

    Returns:
        ``seconds`` between the first and the last line in that time, and shares of cores times seconds:
        ``family``, CPU time of the command's processes; ``family_or_in_queue``, with the time for which its
        trials were ready to run and other processes had the core; ``machine``, all processes there are.
        ``None`` for fewer than two lines.
    """
    inside = [line for line in lines if begin <= line["time"] <= end]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    took = {name: last[name] - first[name] for name in last}
    available = num_cores * took["time"]
    return {
        "seconds": took["time"],
        "family": took["family_cpu"] / available,
        "family_or_in_queue": (took["family_cpu"] + took["trial_waited"]) / available,
        "machine": took["machine_busy"] / (took["machine_busy"] + took["machine_idle"]),
    }
