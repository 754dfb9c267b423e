"""Two pods of a TrainJob in network namespaces: a name that comes late, one eviction, both resumed."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config
from tests.train.netns import INTERFACE, ROOT, Pair, Started, join_two_nodes, numbers, said, why_not

pytestmark = [pytest.mark.dist, pytest.mark.slow]

STEPS = 100
MASTER = "pretrain-node-0-0.pretrain"
SECONDS = 120.0


@pytest.fixture(scope="module", autouse=True)
def nodes_are_possible() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with join_two_nodes(tmp_path) as pair:
        yield pair


def start_pods(pair: Pair, config: Path) -> list[Started]:
    """Both pods, with the environment that Trainer 2.3 gives them."""
    common = [f"PET_MASTER_ADDR={MASTER}", "PET_MASTER_PORT=29500", "PET_NNODES=2", "PET_NPROC_PER_NODE=1"]
    common += [f"GLOO_SOCKET_IFNAME={INTERFACE}"]
    command = [sys.executable, str(ROOT / "launch/start.py"), "pod", "--", "--config", str(config)]
    return [
        node.start(["env", *common, f"PET_NODE_RANK={rank}", *command, "--resume-if-started"])
        for rank, node in enumerate(pair.nodes)
    ]


def name_master(pair: Pair, folder: Path) -> None:
    """Give the first pod its address in the cluster's names."""
    for node in pair.nodes:
        with (folder / f"{node.name}.hosts").open("a", encoding="utf-8") as file:
            file.write(f"{pair.nodes[0].address} {MASTER}\n")


def wait_for_step(run: Path, step: int, started: list[Started]) -> float:
    deadline = time.monotonic() + SECONDS
    while not any(line["step"] >= step for line in read_metrics(run / "metrics.jsonl")):
        assert all(each.process.poll() is None for each in started), said(started)
        assert time.monotonic() < deadline, said(started)
        time.sleep(0.02)
    return time.monotonic()


def wait_for_both(pair: Pair, started: list[Started]) -> list[int]:
    statuses = [each.process.wait(SECONDS) for each in started]
    assert [node.pids() for node in pair.nodes] == [[], []]
    return statuses


def write_config(folder: Path, name: str) -> Path:
    train = {"start_timeout": 60.0, "checkpoint_every": 5, "max_steps": STEPS}
    file = folder / f"{name}.yaml"
    config = tiny_config(folder / "shards", folder / name, model={"pool_dropout": 0.2}, train=train)
    file.write_text(config.to_yaml(), encoding="utf-8")
    return file


@pytest.mark.parametrize("evicted", [0, 1])
def test_one_evicted_pod_ends_both_with_75_and_they_resume_to_the_bit(
    tmp_path: Path, pair: Pair, evicted: int
) -> None:
    build_corpus(tmp_path / "shards")
    config, run = write_config(tmp_path, "run"), tmp_path / "run"

    started = start_pods(pair, config)
    deadline = time.monotonic() + SECONDS
    while not all("waiting for the name" in each.output for each in started):
        assert [each.process.poll() for each in started] == [None, None], said(started)
        assert time.monotonic() < deadline, said(started)
        time.sleep(0.05)
    name_master(pair, tmp_path)
    wait_for_step(run, 12, started)
    moment = time.monotonic()
    os.kill(started[evicted].process.pid, signal.SIGTERM)
    assert wait_for_both(pair, started) == [75, 75], said(started)
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    assert status["status"] == "interrupted"
    assert 12 <= status["step"] < STEPS

    started = start_pods(pair, config)
    resumed = wait_for_step(run, status["step"] + 1, started)
    print(f"{resumed - moment:.1f} s from eviction to the first resumed step")
    assert wait_for_both(pair, started) == [0, 0], said(started)

    whole = start_pods(pair, write_config(tmp_path, "whole"))
    assert wait_for_both(pair, whole) == [0, 0], said(whole)
    assert numbers(run) == numbers(tmp_path / "whole")
