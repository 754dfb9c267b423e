"""Small corpora, tiny configurations, and jobs under real launchers that benchmarks time or break."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from langpose_dist.config import RunConfig, build_config
from langpose_dist.data.sample import Sample, Span
from langpose_dist.datasets.build import build_shards
from langpose_dist.runs.metrics import read_metrics

ROOT = Path(__file__).parents[1]
LABELS = ("wave left hand", "wave right hand", "kick", "stand", None)
_WAIT_TIMEOUT_S = 300.0

TINY: dict[str, dict[str, Any]] = {
    "window": {"num_frames": 9, "stride": 4},
    "masking": {"time_window_frames": [2, 4]},
    "noise": {"num_keyframes": 3},
    "model": {
        "dim": 16,
        "dim_representation": 16,
        "depth": 1,
        "num_heads": 2,
        "pool_dim": 4,
        "embed_dim": 16,
        "pool_dropout": 0.0,
    },
    "optimizer": {"warmup_steps": 1},
    "train": {"global_batch_size": 12, "log_every": 1, "device": "cpu", "num_threads": 1},
    "data": {"num_workers": 0},
    "evaluation": {"batch_size": 4, "num_pictures": 1},
    "tracking": {"enabled": False},
}
"""A model that trains in no time."""


def tiny_content(shards: Path, output: Path, **changes: Mapping[str, Any]) -> dict[str, Any]:
    """Content of a tiny run's configuration; ``changes`` go into its sections."""
    names = TINY.keys() | changes.keys()
    content: dict[str, Any] = {name: {**TINY.get(name, {}), **changes.get(name, {})} for name in names}
    content["data"]["path"] = str(shards)
    return {**content, "output": str(output)}


def tiny_config(shards: Path, output: Path, **changes: Mapping[str, Any]) -> RunConfig:
    """Build the configuration of a tiny run."""
    return build_config(tiny_content(shards, output, **changes))


@dataclass(frozen=True)
class RandomClip:
    """A clip of a figure that wanders at random."""

    key: str
    label: str | None
    num_frames: int
    split: str | None = None

    @property
    def source(self) -> str:
        return self.key

    @property
    def path(self) -> Path:
        return Path(self.key)

    @property
    def fields(self) -> Mapping[str, str]:
        return {}

    def load(self) -> Sample:
        rng = np.random.default_rng(list(self.key.encode()))
        steps = rng.normal(0.0, 0.01, (self.num_frames, 17, 3))
        poses = rng.uniform(0.0, 1.5, (17, 3)) + np.cumsum(steps, axis=0)
        spans = () if self.label is None else (Span(self.label, 0, self.num_frames),)
        return Sample(self.key, poses.astype(np.float32), spans, {})


def make_shards(folder: Path, *, frames: int = 21) -> Path:
    """Build the shards of a dozen random clips in two splits, the shortest of ``frames`` frames."""
    pairs = [
        (split, RandomClip(f"{split}{number}", LABELS[number % len(LABELS)], frames + 3 * number))
        for split, count in (("train", 6), ("validation", 5))
        for number in range(count)
    ]
    build_shards(pairs, folder, dataset="random", source="memory", fps=30.0, options={}, shard_size=4)
    return folder


class Job:
    """One start of a training through ``launch/start.py``.

    Args:
        folder: Holds ``config.yaml``, the run in ``run`` and the output of the jobs.
        launcher: none, torchrun or deepspeed.
        ranks: Processes that train.
        words: For the training.
    """

    def __init__(
        self, folder: Path, launcher: str = "torchrun", ranks: int = 2, words: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self._log = folder / f"job-{len(list(folder.glob('job-*')))}.log"
        several = ["node", "--launcher", launcher, "--num-ranks", str(ranks)]
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, str(ROOT / "launch/start.py")),
                    *(["one"] if launcher == "none" else several),
                    *("--", "--config", str(folder / "config.yaml"), *words),
                ],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All that it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def members(self) -> list[psutil.Process]:
        """Living processes of the job: they have its session, or its configuration on their command line."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                is_member = os.getsid(process.pid) == self.process.pid or any(
                    str(self.folder) in word for word in process.cmdline()
                )
                if is_member and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def ranks(self) -> dict[int, psutil.Process]:
        """Rank -> its process: the highest ones that have a rank in their environment."""
        ranked: dict[int, psutil.Process] = {}
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                if "RANK" in process.environ():
                    ranked[process.pid] = process
        highest = [process for process in ranked.values() if process.ppid() not in ranked]
        return {int(process.environ()["RANK"]): process for process in highest}

    def wait_for(self, condition: Callable[[], Any]) -> None:
        """Poll until the condition holds; fails with the job's output if the job ends first."""
        deadline = time.monotonic() + _WAIT_TIMEOUT_S
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"exit {self.process.poll()}:\n{self.output[-4000:]}")
            time.sleep(0.01)

    def wait_for_step(self, step: int) -> None:
        """Poll until the metrics have a step."""
        self.wait_for(lambda: last_step(self.folder) >= step)

    def wait(self, timeout: float = 600.0) -> None:
        """Wait for its end; fails if that is not a good one."""
        if self.process.wait(timeout) != 0:
            raise RuntimeError(f"exit {self.process.returncode}:\n{self.output[-4000:]}")

    def wait_until_gone(self, timeout: float = 120.0) -> None:
        """Wait until no process of the job is left; fails if some stay."""
        deadline = time.monotonic() + timeout
        while left := self.members():
            self.process.poll()
            if time.monotonic() > deadline:
                raise RuntimeError(f"left behind: {[process.cmdline()[:4] for process in left]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End whatever is left of it."""
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def job(
    folder: Path, launcher: str = "torchrun", ranks: int = 2, words: tuple[str, ...] = ()
) -> Iterator[Job]:
    """Start a job that leaves nothing behind; the arguments are those of ``Job``."""
    started = Job(folder, launcher, ranks, words)
    try:
        yield started
    finally:
        started.kill()


def prepare(folder: Path, shards: Path, **changes: Mapping[str, Any]) -> Path:
    """Write the configuration of a tiny run to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    train = {"max_steps": 60, "checkpoint_every": 10, "evaluate_every": 25, "hang_timeout": 60}
    changes = {**changes, "train": {**train, **changes.get("train", {})}}
    changes["model"] = {"pool_dropout": 0.1, **changes.get("model", {})}
    config = tiny_config(shards, folder / "run", **changes)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return folder


def last_step(folder: Path) -> int:
    """Newest step in the metrics of a run, 0 before the first."""
    return max((int(line["step"]) for line in read_metrics(folder / "run/metrics.jsonl")), default=0)
