"""Sweeps of a tiny model as processes of their own: start, watch, kill and read what they leave."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from ray.tune.schedulers import AsyncHyperBandScheduler

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import TINY

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 60, 10


def write_config(
    folder: Path, shards: Path, changes: Mapping[str, Mapping[str, Any]] | None = None, **sweep: Any
) -> Path:
    """A configuration of trials that take seconds; ``changes`` go into the sections of the run."""
    content: dict[str, Any] = {section: dict(values) for section, values in TINY.items()}
    content["data"]["path"] = str(shards)
    content["train"] |= {"max_steps": STEPS, "evaluate_every": EVERY, "log_every": 5}
    content["tracking"] = {"uri": f"sqlite:///{folder / 'mlflow.db'}", "register_as": "tiny"}
    for section, values in (changes or {}).items():
        content[section] = {**content.get(section, {}), **values}
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
        variables: Of the environment, besides those of this process.
    """

    def __init__(self, folder: Path, *words: str, variables: Mapping[str, str] | None = None) -> None:
        self.output = folder / "sweep"
        self.log = folder / f"log-{time.monotonic_ns()}.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tuning.sweep", *words],
                cwd=ROOT,
                env=environment() | dict(variables or {}),
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
        """The driver and all that it has started; what left its session, if it was seen below it."""
        found = session_of(self.process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            me = psutil.Process(self.process.pid)
            found += [me, *me.children(recursive=True)]
        for process in found:
            self._family.setdefault(process.pid, process)
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
        return self.named("ray::ImplicitFunc", "ray::Rank")

    def wait_for(self, condition: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Until it holds; fails with the sweep's output if that ends first."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            self.family()
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"exit {self.process.poll()}:\n{self.text[-4000:]}")
            time.sleep(0.05)
        return value

    def wait_for_evaluations(self, count: int) -> None:
        """Until the driver has heard of so many."""
        self.wait_for(lambda: count_evaluations(self.output) >= count)

    def wait(self, seconds: float = 240.0) -> int:
        """The exit status; fails if it does not end in time."""
        deadline = time.monotonic() + seconds
        while (status := self.process.poll()) is None:
            self.family()
            if time.monotonic() > deadline:
                raise AssertionError(f"the sweep hangs:\n{self.text[-4000:]}")
            time.sleep(0.1)
        return status

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


def session_of(leader: int) -> list[psutil.Process]:
    """Every living process of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def trained_by(sweep: SweepProcess, output: Path, *, number: int) -> psutil.Process | None:
    """The process that has the log of a trial open."""
    folder = output / "trials" / read_trials(output)[number]["trial_id"]
    for process in sweep.trials():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process.pid}/fd/1").readlink() == folder / "trial.log":
                return process
    return None


@contextlib.contextmanager
def sweeping(folder: Path, *words: str, variables: Mapping[str, str] | None = None) -> Iterator[SweepProcess]:
    """A sweep that leaves nothing behind, whatever the test does."""
    sweep = SweepProcess(folder, *words, variables=variables)
    try:
        yield sweep
    finally:
        sweep.kill()


def finish(
    folder: Path, *words: str, variables: Mapping[str, str] | None = None, seconds: float = 240.0
) -> str:
    """Let a sweep come to its end; returns what it printed."""
    with sweeping(folder, *words, variables=variables) as sweep:
        status = sweep.wait(seconds)
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


def check_whole(
    folder: Path, num_trials: int, *, attempts: int, statuses: Collection[str] = ("finished", "stopped")
) -> list[dict[str, Any]]:
    """Every trial has ended once, and folder and MLflow say the same of it; returns the trials."""
    output = folder / "sweep"
    record, trials = read_record(output), read_trials(output)
    assert (record["status"], record["attempts"]) == ("finished", attempts)
    assert [trial["number"] for trial in trials] == list(range(num_trials))
    parent, runs = read_runs(folder)
    assert parent.info.status == "FINISHED"
    assert set(runs) == {trial["trial_id"] for trial in trials}
    for trial in trials:
        assert trial["status"] in statuses
        steps = [line["step"] for line in trial["evaluations"]]
        assert steps == list(range(EVERY, trial["step"] + 1, EVERY))
        assert evaluated_steps(output, trial) == steps
        assert (trial["status"] == "finished") == (trial["step"] == STEPS)
        run = runs[trial["trial_id"]]
        assert run.info.status == "FINISHED"
        tags = run.data.tags
        assert tags["sweep.status"] == trial["status"]
        assert tags["sweep.step"] == str(trial["step"])
        assert tags["sweep.rung"] == str(trial["rung"]).lower()
        assert tags["sweep.stop_reason"] == (trial["reason"] or "came to its end")
        values = [line["metrics"]["masked/mpjpe_mm"] for line in trial["evaluations"]]
        assert run.data.metrics["validation/masked/mpjpe_mm"] == pytest.approx(values[-1])
    return trials


def check_decisions(output: Path, trials: Sequence[Mapping[str, Any]]) -> None:
    """The scheduler decided as one that saw all results without an interruption."""
    lines = [json.loads(line) for line in (output / "ray/search-scheduler.jsonl").read_text().splitlines()]
    keys = [(line["trial_id"], line["step"]) for line in lines]
    assert len(set(keys)) == len(keys)
    assert set(keys) == {
        (trial["trial_id"], line["step"])
        for trial in trials
        for line in trial["evaluations"]
        if not trial["is_baseline"]
    }
    fresh: Any = AsyncHyperBandScheduler(
        time_attr="step",
        metric="value",
        mode="min",
        grace_period=EVERY,
        max_t=STEPS,
        reduction_factor=2,
    )
    for trial_id in dict(keys):
        fresh.on_trial_add(None, _Trial(trial_id))
    for line in lines:
        expected = fresh.on_trial_result(None, _Trial(line["trial_id"]), line)
        assert line["decision"] == expected, line


class _Trial:
    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
