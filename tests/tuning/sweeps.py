"""Sweeps of a tiny model as processes of their own: start, watch, kill and read what they leave."""

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
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from langpose_dist.train.metrics_file import read_metrics
from tests.corpus import TINY

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 60, 10


def write_config(folder: Path, shards: Path, **sweep: Any) -> Path:
    """A configuration of trials that take seconds."""
    content: dict[str, Any] = {section: dict(values) for section, values in TINY.items()}
    content["data"]["path"] = str(shards)
    content["train"] |= {"max_steps": STEPS, "evaluate_every": EVERY, "log_every": 5}
    content["tracking"] = {"uri": f"sqlite:///{folder / 'mlflow.db'}", "register_as": "tiny"}
    content["output"] = str(folder / "sweep")
    content["sweep"] = {"num_trials": 3, "scheduler": {"reduction_factor": 2}, **sweep}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


class SweepProcess:
    """A sweep's driver and all below it.

    Args:
        folder: Of its configuration; the sweep's own is ``sweep`` in it.
        words: Further words of the command line.
    """

    def __init__(self, folder: Path, *words: str) -> None:
        self.output = folder / "sweep"
        self.log = folder / f"log-{time.monotonic_ns()}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuning.sweep", *words],
                cwd=ROOT,
                env=environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._family: dict[int, psutil.Process] = {}

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        """The driver and everything that it has started, as far as it was seen alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            me = psutil.Process(self.process.pid)
            for process in (me, *me.children(recursive=True)):
                self._family[process.pid] = process
        return list(self._family.values())

    def named(self, *names: str) -> list[psutil.Process]:
        """Those of the family that run and whose command line holds one of the names."""
        found = []
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                if process.is_running() and any(name in " ".join(process.cmdline()) for name in names):
                    found.append(process)
        return found

    def trials(self) -> list[psutil.Process]:
        """The processes that train."""
        return self.named("ray::ImplicitFunc", "ray::RayTrainWorker")

    def wait_for(self, condition: Callable[[], Any], seconds: float = 120.0) -> None:
        """Until it holds; fails with the sweep's output if that ends first."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.family()
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"exit {self.process.poll()}:\n{self.text[-4000:]}")
            time.sleep(0.05)

    def wait(self, seconds: float = 240.0) -> int:
        """The exit status; fails if it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the sweep hangs:\n{self.text[-4000:]}") from None

    def wait_until_gone(self, seconds: float, names: Sequence[str] = ("",)) -> None:
        """Until none of the family is left whose command line holds one of the names."""
        deadline = time.monotonic() + seconds
        while left := self.named(*names):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
            if time.monotonic() > deadline:
                raise AssertionError(f"left behind: {[process.cmdline()[:1] for process in left]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End whatever is left of it."""
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextlib.contextmanager
def sweeping(folder: Path, *words: str) -> Iterator[SweepProcess]:
    """A sweep that leaves nothing behind, whatever the test does."""
    sweep = SweepProcess(folder, *words)
    try:
        yield sweep
    finally:
        sweep.kill()


def finish(folder: Path, *words: str) -> str:
    """Let a sweep come to its end; returns what it printed."""
    with sweeping(folder, *words) as sweep:
        status = sweep.wait()
        assert status == 0, sweep.text[-4000:]
        return sweep.text


def run_command(*words: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
    """``python -m tuning.sweep`` to its end, whatever that is."""
    return subprocess.run(
        [sys.executable, "-m", "tuning.sweep", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def environment() -> dict[str, str]:
    """Of a sweep's process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    return kept | {"PYTHONPATH": str(ROOT)}


def read_trials(output: Path) -> list[dict[str, Any]]:
    """Every ``trial.json``, by number."""
    found = []
    for path in output.glob("trials/*/trial.json"):
        with contextlib.suppress(ValueError):  # it is being replaced
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return sorted(found, key=lambda trial: trial["number"])


def count_evaluations(output: Path) -> int:
    """Evaluations that the driver has heard of."""
    return sum(len(trial["evaluations"]) for trial in read_trials(output))


def read_record(output: Path) -> dict[str, Any]:
    """``sweep.json``."""
    return json.loads((output / "sweep.json").read_text(encoding="utf-8"))


def evaluated_steps(output: Path, trial: dict[str, Any]) -> list[int]:
    """Steps of the evaluations in the trial's own metrics."""
    lines = read_metrics(output / "trials" / trial["trial_id"] / "metrics.jsonl")
    return [int(line["step"]) for line in lines if any(name.startswith("validation/masked") for name in line)]


def read_runs(folder: Path) -> tuple[Run, dict[str, Run]]:
    """The sweep's run in MLflow, and those below it by trial id; fails on a second one of either."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if run.data.tags.get("langpose.kind") == "sweep"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    by_id = {run.data.tags["sweep.trial_id"]: run for run in children}
    assert len(by_id) == len(children)
    return parent, by_id
