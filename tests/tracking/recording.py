"""Runs recorded for tests, in this process or one that can be killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.runs.tracker import RunInfo
from langpose_dist.tracking import tracker
from langpose_dist.tracking.tracker import MLflowTracker

tracker._OPENING_TIMEOUT_S = 120.0  # the process that sends takes its time to start on a busy machine
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "python": "3.11.7",
    "git_commit": "abc123",
    "git_dirty": "true",
    "nodes": "node-a, node-b",
    "world_size": "2",
    "HF_TOKEN": "hf_secret",
}


def make_config(uri: str, **content: Any) -> RunConfig:
    """A configuration whose run goes to this store."""
    tracking = {"uri": uri, "experiment": "an experiment", **content.pop("tracking", {})}
    return build_config({"tracking": tracking, **content})


def start(
    config: RunConfig,
    run_dir: Path,
    *,
    resumed: bool = False,
    step: int = 0,
    run_id: str | None = None,
    origin: Mapping[str, str] | None = None,
    **options: Any,
) -> MLflowTracker:
    """A tracker that records a run, once the store has it or has shown that it is unavailable.

    ``options`` are the tracker's own.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    if not resumed:
        (run_dir / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    tracker = MLflowTracker(config.tracking, **options)
    tracker.check()
    tracker.start(
        RunInfo(
            config=config,
            run_dir=run_dir,
            dataset="walks",
            data_fingerprint="d" * 64,
            environment=ENVIRONMENT,
            packages="numpy==2.4.6\n",
            origin=origin or {},
            is_resumed=resumed,
            step=step,
            run_id=run_id,
        )
    )
    try:
        tracker.opened()
    except UserError as error:
        tracker.finish("FAILED", str(error))
        raise
    return tracker


def history(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    """Steps and values of a metric, in order of the steps."""
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from tests.tracking.recording import make_config, start
tracker = start(make_config(sys.argv[1]), Path(sys.argv[2]))
for step in range(100):
    tracker.log_metrics({"loss": float(step)}, step)
print("logged", flush=True)
time.sleep(60)
"""


def recording_process(uri: str, run_dir: Path) -> "subprocess.Popen[str]":
    """A process that records 100 values, says so and lives on; to be killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, uri, str(run_dir)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "logged\n"
    return process


def senders_of(run_dir: Path) -> list[psutil.Process]:
    """The sending processes of a run; each is looked at once, since it may end between two looks."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "langpose_dist.tracking.sender" in (words := process.info["cmdline"] or [])
        and str(run_dir) in words
    ]


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until it holds; fails after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
