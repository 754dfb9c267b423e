"""Training jobs as their users start them, for tests that break them: real launchers, real signals."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
BOUND = 30.0
"""Seconds in which a job that is asked to stop must be gone."""


def launch_command(launcher: str, ranks: int) -> list[str]:
    """Words in front of the script."""
    python = [sys.executable]
    match launcher:
        case "none":
            return python
        case "torchrun":
            where = ["--nproc_per_node", str(ranks), "--master_addr", "127.0.0.1", "--master_port"]
            return [*python, "-m", "torch.distributed.run", *where, str(free_port())]
        case "deepspeed":
            command = str(Path(sys.executable).with_name("deepspeed"))
            where = ["--num_gpus", str(ranks), "--master_addr", "127.0.0.1", "--master_port"]
            return [*python, command, *where, str(free_port())]
    raise ValueError(launcher)


class Job:
    """One start of a training.

    Args:
        folder: Holds ``config.yaml``, ``run`` and the jobs' output.
        launcher: none, torchrun or deepspeed.
        ranks: Processes that train.
        words: For the command line.
        target: Script that the launcher starts.
        config_option: In front of the configuration's file.
    """

    def __init__(
        self,
        folder: Path,
        launcher: str = "torchrun",
        ranks: int = 2,
        words: Sequence[str] = (),
        target: Path = ROOT / "launch/train.py",
        config_option: str | None = "--config",
    ) -> None:
        self.folder = folder
        self.target = target
        self.log = folder / f"job-{len(list(folder.glob('job-*')))}.log"
        option = [config_option] if config_option else []
        command = [
            *launch_command(launcher, ranks),
            str(target),
            *option,
            str(folder / "config.yaml"),
            *words,
        ]
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                    "OMP_NUM_THREADS": "1",
                    "PYTHONUNBUFFERED": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def members(self) -> list[psutil.Process]:
        """Every living process of the job: all of them have the job's session or configuration."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if os.getsid(process.pid) == self.process.pid or str(self.folder) in " ".join(
                    process.cmdline()
                ):
                    found.append(process)
        return found

    def ranks(self) -> dict[int, psutil.Process]:
        """Rank -> its process."""
        found = {}
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                parent = process.parent()
                if str(self.target) not in words or any(
                    "launch" in w or "run" in w for w in words[1:4] if w[:1] != "/"
                ):
                    continue
                if Path(words[1]).name in ("deepspeed", "torchrun"):
                    continue
                if (
                    parent is not None
                    and str(self.target) in parent.cmdline()
                    and "multiprocessing" in " ".join(words)
                ):
                    continue
                if parent is not None and parent.cmdline() == words:
                    continue  # a loader worker, forked from its rank
                found[int(process.environ().get("RANK", "0"))] = process
        return found

    def wait_for(self, condition: Callable[[], Any], timeout: float = 90.0) -> Any:
        """Poll until the condition holds; fails with the job's output if the job ends first."""
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"exit {self.process.poll()}:\n{self.output[-4000:]}")
            time.sleep(0.01)
        return value

    def wait_for_step(self, step: int) -> None:
        """Until the metrics have a step."""
        path = self.folder / "run/metrics.jsonl"
        self.wait_for(lambda: any(line["step"] >= step for line in read_metrics(path)))

    def wait(self, timeout: float = 120.0) -> int:
        """The launcher's exit code; fails if the job does not end in time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job hangs:\n{self.output[-4000:]}") from None
        finally:
            if self.process.poll() is None:
                self.kill()

    def wait_until_gone(self, timeout: float = BOUND) -> float:
        """Seconds until no process of the job is left; fails if some stay."""
        started = time.monotonic()
        while left := self.members():
            self.process.poll()
            if time.monotonic() > started + timeout:
                words = [process.cmdline()[:4] for process in left]
                self.kill()
                raise AssertionError(f"left behind: {words}\n{self.output[-4000:]}")
            time.sleep(0.05)
        self.process.wait(5)
        return time.monotonic() - started

    def kill(self) -> None:
        """End whatever is left of it."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


@contextlib.contextmanager
def job(folder: Path, *arguments: Any, **options: Any) -> Iterator[Job]:
    """A job that leaves nothing behind, whatever the test does."""
    started = Job(folder, *arguments, **options)
    try:
        yield started
    finally:
        started.kill()
        started.process.wait(10)


def prepare(folder: Path, shards: Path, **changes: Any) -> Path:
    """Write the configuration of a run that can be broken in mid-course."""
    folder.mkdir(parents=True, exist_ok=True)
    train = {
        "max_steps": 60,
        "checkpoint_every": 10,
        "evaluate_every": 25,
        "hang_timeout": 60,
        **changes.pop("train", {}),
    }
    changes = {"model": {"pool_dropout": 0.1, **changes.pop("model", {})}, **changes}
    config = tiny_config(shards, folder / "run", train=train, **changes)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return folder


def hold_at(step: int, *words: str) -> dict[str, Any]:
    """Options of a job whose last rank goes no further than a step until it is asked to stop or killed."""
    target = Path(__file__).with_name("faulty_train.py")
    return {"target": target, "words": ["--fault", f"hold-at-step-{step}", *words]}


def listens(pid: int) -> bool:
    """True if a process has a handler of SIGTERM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
    return False


def make_shards(folder: Path, **options: Any) -> Path:
    """The made-up corpus."""
    build_corpus(folder, **options)
    return folder


def finish(folder: Path, *arguments: Any, words: Sequence[str] = ("--resume",), **options: Any) -> str:
    """Start again and let it end; returns its output."""
    with job(folder, *arguments, words=words, **options) as again:
        status = again.wait()
        assert status == 0, again.output[-4000:]
        again.wait_until_gone(10)
        assert read_status(folder)["status"] == "finished"
        return again.output


def losses(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and all values of each line of metrics, except those of time."""
    lines = []
    for line in read_metrics(folder / "run/metrics.jsonl"):
        values = {name: value for name, value in line.items() if "per_second" not in name}
        lines.append((int(values.pop("step")), values))
    return lines


def read_status(folder: Path) -> dict[str, Any]:
    """``status.json``."""
    return json.loads((folder / "run/status.json").read_text(encoding="utf-8"))


def checkpoint_steps(folder: Path) -> list[int]:
    """Steps of the published checkpoints, in order."""
    return sorted(
        int(path.name.removeprefix("step-")) for path in (folder / "run/checkpoints").glob("step-*")
    )
