"""``launch/start.py pod``: one pod of a TrainJob, by the variables that Kubeflow Trainer sets."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.corpus import build_corpus, tiny_config
from tests.ports import free_port
from tests.train.jobs import listens

ROOT = Path(__file__).parents[2]
POD = {
    "PET_NNODES": "1",
    "PET_NPROC_PER_NODE": "1",
    "PET_NODE_RANK": "0",
    "PET_MASTER_ADDR": "127.0.0.1",
}


def start_pod(*words: str, **changes: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PET_")}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch/start.py"), "pod", *words],
        env=environ
        | POD
        | {"PET_MASTER_PORT": str(free_port()), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        | changes,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    build_corpus(folder)
    return folder


def write_config(folder: Path, shards: Path, max_steps: int) -> Path:
    train = {"max_steps": max_steps, "checkpoint_every": 5}
    file = folder / "config.yaml"
    file.write_text(tiny_config(shards, folder / "run", train=train).to_yaml(), encoding="utf-8")
    return file


def read_status(folder: Path) -> dict[str, object]:
    return json.loads((folder / "run/status.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PET_NNODES": "", "PET_MASTER_ADDR": ""}, "PET_NNODES, PET_MASTER_ADDR not set"),
        ({"PET_NPROC_PER_NODE": "auto"}, "PET_NPROC_PER_NODE=auto is not a number; set numProcPerNode"),
        ({"PET_NODE_RANK": "-1"}, "PET_NODE_RANK=-1 is not a number"),
        ({"PET_MASTER_ADDR": "nobody.invalid"}, "nobody.invalid does not resolve after 1 s"),
    ],
)
def test_a_pod_that_cannot_start_says_why_in_one_line(changes: dict[str, str], message: str) -> None:
    process = start_pod("--wait", "1", "--", "train.device=cpu", **changes)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    (line,) = [line for line in output.splitlines() if line.startswith("start: error: ")]
    assert message in line


def test_a_mistake_in_the_training_s_words_is_found_before_the_wait() -> None:
    process = start_pod("--", "train.device=cpu", "outptu=runs/1", PET_MASTER_ADDR="nobody.invalid")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "unknown key 'outptu'" in output


def test_a_pod_that_is_evicted_while_it_waits_can_be_started_again() -> None:
    process = start_pod("--", "train.device=cpu", PET_MASTER_ADDR="nobody.invalid")
    assert process.stdout is not None
    assert process.stdout.readline() == "start: waiting for the name nobody.invalid\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75


@pytest.mark.dist
@pytest.mark.parametrize(
    "has_come_to",
    [
        lambda pid, folder: listens(pid),
        lambda pid, folder: psutil.Process(pid).children(),
        lambda pid, folder: (folder / "run").exists(),
    ],
    ids=["listening", "torchrun", "a run's folder"],
)
def test_a_pod_that_is_evicted_while_it_starts_can_be_started_again(
    tmp_path: Path, shards: Path, has_come_to: Callable[[int, Path], object]
) -> None:
    config = write_config(tmp_path, shards, max_steps=100_000)
    process = start_pod("--", "--config", str(config), "--resume-if-started")
    deadline = time.monotonic() + 120
    while not has_come_to(process.pid, tmp_path):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output


@pytest.mark.dist
def test_an_evicted_pod_ends_with_75_and_resumes(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, max_steps=100_000)
    words = ("--", "--config", str(config), "--resume-if-started")
    process = start_pod(*words)
    metrics = tmp_path / "run/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    assert read_status(tmp_path)["status"] == "interrupted"
    step = read_status(tmp_path)["step"]

    process = start_pod(*words, f"train.max_steps={step}")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"resuming after step {step}" in output


@pytest.mark.dist
def test_an_interruption_of_an_earlier_attempt_is_not_this_one_s(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, max_steps=2)
    (tmp_path / "run").mkdir()
    status = {"status": "interrupted", "step": 1, "reason": "", "exit_code": 75}
    (tmp_path / "run/status.json").write_text(json.dumps(status), encoding="utf-8")
    process = start_pod("--", "--config", str(config), "data.path=/nowhere")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert "/nowhere" in output
