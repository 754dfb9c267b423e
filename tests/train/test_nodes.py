"""Several nodes, really: network namespaces, each with an address, and gloo across them."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config
from tests.train.netns import INTERFACE, ROOT, Pair, Started, join_two_nodes, numbers, said, why_not

pytestmark = pytest.mark.dist

STEPS = 100
"""Of some 40 ms: there is time to pull the cable in between."""
CUT_AFTER = 12
HANG_TIMEOUT = 8.0
END_SECONDS = HANG_TIMEOUT + 45.0
"""From the cut to the end of both launchers: ranks try for some seconds to learn where the others are."""
WHOLE_SECONDS = 250.0
"""Limit for a whole run on a busy machine; a tenth of it is usual."""
OPTIONS = ("--nodes", "2", "--ranks-per-node", "1", "--launcher")


@pytest.fixture(scope="module", autouse=True)
def nodes_are_possible() -> None:
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with join_two_nodes(tmp_path) as pair:
        yield pair


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    build_corpus(folder)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """Folder of a run of two nodes that nothing happens to, under DeepSpeed's launcher."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with join_two_nodes(folder) as pair:
        config = write_config(folder, shards)
        started = start_both(pair, config, "train.hang_timeout=60", options=interface("deepspeed"))
        statuses = wait_for_both(pair, started, WHOLE_SECONDS)
    assert statuses == [0, 0], said(started)
    return folder / "run"


def test_two_nodes_train_through_the_deepspeed_launcher(uninterrupted: Path) -> None:
    assert [line["step"] for line in numbers(uninterrupted) if "train/loss" in line] == [*range(1, STEPS + 1)]
    assert status(uninterrupted)["status"] == "finished"
    report = json.loads((uninterrupted / "evaluation.json").read_text(encoding="utf-8"))
    assert report["world_size"] == 2


@pytest.mark.slow
def test_nodes_whose_cable_is_pulled_end_with_a_reason_and_go_on_as_if_nothing_had_been(
    tmp_path: Path, shards: Path, pair: Pair, uninterrupted: Path
) -> None:
    config = write_config(tmp_path, shards)
    run = tmp_path / "run"
    words = ("--resume-if-started",)
    started = start_both(pair, config, *words, options=interface("torchrun"))
    wait_for_step(run, CUT_AFTER, started)
    pair.cut()
    statuses = wait_for_both(pair, started, END_SECONDS)
    assert 0 not in statuses, said(started)
    outputs = [each.output for each in started]
    place = r"step \d+(?:'s gradients|'s log)?"
    reasons = [
        # Rank 1 has no name before its first sign of life, which may come after the cut.
        rf"rank 1( \(node-1\))?, last seen at .*, hangs or cannot be reached while the others wait at "
        rf"{place}",
        rf"every rank waits at {place}: the connection between them is gone",
        rf"{re.escape(pair.nodes[0].address)}, where the ranks meet, does not answer",
    ]
    for rank, output in enumerate(outputs):
        who = rf"langpose: error: rank {rank} \(node-{rank}\): no progress for {HANG_TIMEOUT:g} s"
        assert re.search(rf"{who}: ({'|'.join(reasons)});", output), output[-3000:]
    # Node 0 keeps the meeting place, so it can compare; node 1 cannot reach it.
    assert re.search(reasons[0], outputs[0])
    assert not re.search(reasons[2], outputs[0])
    assert re.search(reasons[2], outputs[1])
    assert status(run)["status"] == "failed"
    assert "resume with --resume" in status(run)["reason"]
    reached = int(read_metrics(run / "metrics.jsonl")[-1]["step"])
    assert CUT_AFTER <= reached < STEPS

    pair.mend()
    started = start_both(pair, config, *words, "train.hang_timeout=60", options=interface("torchrun"))
    statuses = wait_for_both(pair, started, WHOLE_SECONDS)
    assert statuses == [0, 0], said(started)
    saved = re.search(r"resuming after step (\d+)", started[0].output)
    assert saved is not None
    assert 5 <= int(saved[1]) <= reached
    assert status(run)["status"] == "finished"
    # A sum of two numbers does not depend on their order: two ranks agree to the bit, wherever they are.
    assert numbers(run) == numbers(uninterrupted)


@pytest.mark.slow
def test_nodes_that_would_tell_each_other_their_loopback_refuse_to_start(
    tmp_path: Path, shards: Path, pair: Pair
) -> None:
    config = write_config(tmp_path, shards)
    started = start_both(pair, config, options=(*OPTIONS, "torchrun"))
    statuses = wait_for_both(pair, started, WHOLE_SECONDS)
    assert 0 not in statuses
    outputs = [each.output for each in started]
    for rank, output in enumerate(outputs):
        # The launcher's own status is 1 whatever its ranks say; it prints theirs.
        assert re.search(rf"rank +: {rank} .*\n +exitcode +: 2 ", output), output[-3000:]
        problem = f"rank {rank} on node-{rank}: the name of this node, node-{rank}, stands for 127.0.0.1"
        assert problem in outputs[0]  # rank 0 speaks for all
    assert "set GLOO_SOCKET_IFNAME" in outputs[0]
    assert not (tmp_path / "run/config.yaml").exists()


def write_config(folder: Path, shards: Path) -> Path:
    train = {"hang_timeout": HANG_TIMEOUT, "start_timeout": 60.0, "checkpoint_every": 5, "max_steps": STEPS}
    config = tiny_config(shards, folder / "run", model={"pool_dropout": 0.2}, train=train)
    file = folder / "config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    return file


def interface(launcher: str) -> tuple[str, ...]:
    return (*OPTIONS, launcher, "--interface", INTERFACE)


def start_both(pair: Pair, config: Path, *words: str, options: tuple[str, ...]) -> list[Started]:
    """One command on each node, differing in the node's rank alone."""
    launch = [sys.executable, str(ROOT / "launch/start.py"), "each", "--master-addr", pair.nodes[0].address]
    training = ["--", "--config", str(config), *words]
    return [
        node.start([*launch, "--node-rank", str(rank), *options, *training])
        for rank, node in enumerate(pair.nodes)
    ]


def wait_for_step(run: Path, step: int, started: list[Started]) -> None:
    deadline = time.monotonic() + WHOLE_SECONDS
    while not any(line["step"] >= step for line in read_metrics(run / "metrics.jsonl")):
        assert all(each.process.poll() is None for each in started), said(started)
        assert time.monotonic() < deadline, said(started)
        time.sleep(0.02)


def wait_for_both(pair: Pair, started: list[Started], seconds: float) -> list[int]:
    """Exit statuses, once both launchers have ended and no process of theirs is left."""
    deadline = time.monotonic() + seconds
    while any(each.process.poll() is None for each in started) or any(node.pids() for node in pair.nodes):
        assert time.monotonic() < deadline, said(started)
        time.sleep(0.05)
    return [each.process.returncode for each in started]


def status(run: Path) -> dict[str, Any]:
    return json.loads((run / "status.json").read_text(encoding="utf-8"))
