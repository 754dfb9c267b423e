"""Requests to stop, made of real processes: what they hear, and how soon they are gone."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from langpose_dist.train.distributed.stop import StopRequest, describe

ROOT = Path(__file__).parents[2]

_HEAD = """
import os, signal, sys, threading, time
from pathlib import Path
from langpose_dist.train.distributed.stop import Interrupted, StopRequest, describe

def tell(*words):
    print(*words, flush=True)

def wait_for_interruption():
    try:
        tell("ready", os.getpid())
        time.sleep(60)
    except Interrupted as stop:
        tell("interrupted by", stop, threading.current_thread() is threading.main_thread())

def run_on(request):
    request.run_on()
    tell("ready", os.getpid())

def wait_for_code(request):
    run_on(request)
    while not request.code:
        time.sleep(0.01)
    tell("asked by", describe(request.code))
"""
FOR_EVER = "while True: time.sleep(0.1)"


class Script:
    """A process that runs a script, whose lines are read as they come.

    Args:
        body: Follows ``_HEAD``.
        above: Files to start, outermost first, each of which starts the next; the last starts the script.
        front: Words in front of the command.
    """

    def __init__(self, body: str, above: Sequence[Path] = (), front: Sequence[str] = ()) -> None:
        script = [sys.executable, "-c", _HEAD + body]
        for path in reversed(above):
            path.write_text(f"import subprocess\nsubprocess.Popen({script!r}).wait()\n")
            script = [sys.executable, str(path)]
        self.process = subprocess.Popen(
            [*front, *script],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.pid = 0

    def wait_until_ready(self) -> None:
        self.pid = int(self.line().removeprefix("ready "))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put("")  # the end: nobody has the pipe any more

    def line(self, timeout: float = 50.0) -> str:
        """The next line, or nothing at the end; fails if it does not come before a script ends by itself."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"no word within {timeout:g} s") from None

    def close(self) -> None:
        self.process.wait(30)
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def is_alive(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE
        return False


@contextlib.contextmanager
def script(body: str, above: Sequence[Path] = (), front: Sequence[str] = ()) -> Iterator[Script]:
    """A script that is gone afterwards, whatever happens."""
    started = Script(body, above, front)
    try:
        started.wait_until_ready()
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.process.pid, signal.SIGKILL)
        started.close()


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
def test_a_signal_before_training_interrupts_the_main_thread_at_once(sent: signal.Signals) -> None:
    with script("StopRequest()\nwait_for_interruption()") as running:
        running.send(sent)
        assert running.line() == f"interrupted by {sent.name} True"
        assert running.process.wait(30) == 0


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
def test_a_signal_in_training_is_left_to_the_loop(sent: signal.Signals) -> None:
    with script("wait_for_code(StopRequest())") as running:
        running.send(sent)
        assert running.line() == f"asked by {sent.name}"
        assert running.process.wait(30) == 0


def test_a_signal_that_a_library_swallowed_is_raised_where_training_begins() -> None:
    body = """
request = StopRequest()
try:
    wait_for_interruption()
    request.run_on()
except Interrupted as stop:
    tell("still interrupted by", stop)
"""
    with script(body) as running:
        running.send(signal.SIGTERM)
        assert running.line() == "interrupted by SIGTERM True"
        assert running.line() == "still interrupted by SIGTERM"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda sent: sent.name)
def test_an_echo_of_a_signal_is_none_but_a_second_one_ends_the_process_at_once(
    second: signal.Signals,
) -> None:
    body = f"""
from langpose_dist.train.distributed import stop
request = StopRequest(grace=60.0)
hear = request._request
limits = iter((60.0, 60.0, 0.0))  # the third signal alone comes late enough

def heard(code):
    stop._SECOND_SIGNAL_AFTER = next(limits)
    hear(code)
    tell("heard", describe(code))

request._request = heard
run_on(request)
{FOR_EVER}
"""
    with script(body) as running:
        for sent in (signal.SIGTERM, second):
            running.send(sent)
            assert running.line() == f"heard {sent.name}"
        assert running.is_alive
        running.send(second)
        assert f"a second signal ({second.name}); left at once" in running.line()
        assert running.process.wait(30) == 128 + second


@pytest.mark.parametrize("trained", [False, True], ids=["before training", "in training"])
def test_a_stop_file_asks_for_a_stop(tmp_path: Path, trained: bool) -> None:
    place = tmp_path / "stop"
    request = f"StopRequest(Path({str(place)!r}))"
    body = f"wait_for_code({request})" if trained else f"{request}\nwait_for_interruption()"
    with script(body) as running:
        place.touch()
        expected = "asked by the stop file" if trained else "interrupted by the stop file True"
        assert running.line() == expected
        assert running.process.wait(30) == 0


def test_a_stop_file_that_is_there_already_asks_only_when_touched_again(tmp_path: Path) -> None:
    # It may be an earlier run's, or meant for the job that still holds the folder.
    place = tmp_path / "stop"
    place.touch()
    with script(f"wait_for_code(StopRequest(Path({str(place)!r})))") as running:
        time.sleep(1.2)  # two looks
        assert running.is_alive
        assert place.exists()
        place.touch()
        assert running.line() == "asked by the stop file"


def test_a_process_that_comes_to_no_step_leaves_after_the_grace() -> None:
    body = """
request = StopRequest(grace=1.0)
request.on_forced_exit = lambda reason: tell("reason:", reason)
run_on(request)
time.sleep(60)
"""
    with script(body) as running:
        started = time.monotonic()
        running.send(signal.SIGTERM)
        assert running.process.wait(30) == 75
        assert time.monotonic() - started > 0.9
        reason = "SIGTERM, but no step ended within 1 s; left without saving"
        assert running.line() == f"langpose: {reason}; the last checkpoint is whole, resume with --resume"
        assert running.line() == f"reason: {reason}"


def test_a_process_that_saves_may_take_longer_than_the_grace() -> None:
    body = """
request = StopRequest(grace=60.0)
wait_for_code(request)
request.saving()
request.grace = 0.5
time.sleep(2)
tell("saved")
"""
    with script(body) as running:
        running.send(signal.SIGTERM)
        assert running.line() == "asked by SIGTERM"
        assert running.line() == "saved"
        assert running.process.wait(30) == 0


@pytest.mark.parametrize("trained", [False, True], ids=["before training", "in training"])
def test_the_death_of_the_launcher_is_noticed(tmp_path: Path, trained: bool) -> None:
    body = "wait_for_code(StopRequest())" if trained else "StopRequest()\nwait_for_interruption()"
    with script(body, [tmp_path / "torchrun"]) as running:
        assert running.pid != running.process.pid
        running.process.kill()
        words = running.line()
        assert words == (
            "asked by the launcher's end" if trained else "interrupted by the launcher's end True"
        )
        assert running.line() == ""


def test_the_death_of_any_launcher_in_the_chain_is_noticed(tmp_path: Path) -> None:
    # As `deepspeed` starts its per-node launcher, which starts the ranks.
    with script("wait_for_code(StopRequest())", [tmp_path / "deepspeed", tmp_path / "torchrun"]) as running:
        running.process.kill()
        assert running.line() == "asked by the launcher's end"


def test_the_death_of_a_parent_that_is_no_launcher_is_no_reason_to_stop(tmp_path: Path) -> None:
    with script("wait_for_code(StopRequest())", [tmp_path / "start.py"]) as running:
        running.process.kill()
        running.process.wait(30)
        time.sleep(2)
        assert running.is_alive
        running.send(signal.SIGTERM)
        assert running.line() == "asked by SIGTERM"


def test_a_parent_above_the_launcher_may_die(tmp_path: Path) -> None:
    above = [tmp_path / "start.py", tmp_path / "torchrun"]
    with script("wait_for_code(StopRequest())", above) as running:
        running.process.kill()
        running.process.wait(30)
        time.sleep(2)
        assert running.is_alive
        running.send(signal.SIGTERM)
        assert running.line() == "asked by SIGTERM"


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    with script("wait_for_code(StopRequest())", front=["nohup"]) as running:
        running.send(signal.SIGHUP)
        time.sleep(1)
        assert running.is_alive
        running.send(signal.SIGTERM)
        assert running.line() == "asked by SIGTERM"


def test_closing_puts_back_what_was_there_before() -> None:
    body = """
before = {number: signal.getsignal(number) for number in range(1, 32)}
files = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
request = StopRequest()
during = {number for number in range(1, 32) if signal.getsignal(number) != before[number]}
request.close()
request.close()
assert {number: signal.getsignal(number) for number in range(1, 32)} == before
assert during == {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP}, during
assert signal.set_wakeup_fd(-1) == -1
assert threading.active_count() == 1
assert not files or len(os.listdir("/proc/self/fd")) == files
wait_for_interruption()
"""
    with script(body) as running:
        running.send(signal.SIGTERM)
        assert running.process.wait(30) == -signal.SIGTERM


def test_in_another_thread_a_request_hears_of_the_stop_file_alone(tmp_path: Path) -> None:
    # Whoever owns the process, such as a search for parameters, keeps its signals.
    handlers = [signal.getsignal(number) for number in SIGNALS]
    codes: list[str] = []

    def listen() -> None:
        request = StopRequest(tmp_path / "stop")
        assert [signal.getsignal(number) for number in SIGNALS] == handlers
        (tmp_path / "stop").touch()
        deadline = time.monotonic() + 60
        while not request.code and time.monotonic() < deadline:
            time.sleep(0.01)
        codes.append(describe(request.code))
        request.close()

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join(60)
    assert codes == ["the stop file"]
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
