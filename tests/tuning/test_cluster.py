"""Sweeps over a real Ray cluster: two raylets on this machine, one CPU each, that share its disk."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.tuning.sweeps import (
    check_decisions,
    check_whole,
    finish,
    read_record,
    read_runs,
    run_command,
    sweeping,
    write_config,
)

pytestmark = [
    pytest.mark.dist,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]
GONE_SECONDS = 60.0
"""In which a cluster is rid of a sweep whose driver has ended."""


class TwoNodes:
    """A head and one more node."""

    def __init__(self) -> None:
        each: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
        self.cluster = Cluster(initialize_head=True, head_node_args={**each, "include_dashboard": False})
        self.second = self.cluster.add_node(**each)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        assert self.cluster.address is not None
        return self.cluster.address

    def at_work(self) -> dict[int, set[str]]:
        """Pid of each raylet that has workers of a sweep -> what they are."""
        found: dict[int, set[str]] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                title = (process.cmdline() or [""])[0]
                parent = process.ppid()
                if parent in self.raylets() and title.startswith(("ray::ImplicitFunc", "ray::Rank")):
                    found.setdefault(parent, set()).add(title.partition("(")[0].split(".")[0])
        return found

    def raylets(self) -> list[int]:
        nodes = [self.cluster.head_node, *self.cluster.worker_nodes]
        return [node.all_processes["raylet"][0].process.pid for node in nodes]

    def kill_second(self) -> None:
        """Its raylet dies as a machine does, and takes its workers along."""
        pid = self.raylets()[1]
        workers = psutil.Process(pid).children(recursive=True)
        for process in (psutil.Process(pid), *workers):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGKILL)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoNodes]:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    # Both nodes are this machine, whose name may stand for its loopback; raylets hand this on to the ranks.
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    nodes = TwoNodes()
    try:
        yield nodes
    finally:
        nodes.cluster.shutdown()


@pytest.mark.slow
def test_trials_of_a_sweep_run_on_both_nodes_of_a_cluster(
    tmp_path: Path, shards: Path, nodes: TwoNodes
) -> None:
    config = write_config(tmp_path, shards)
    words = ("--config", str(config), "--ray-address", nodes.address)
    with sweeping(tmp_path, *words) as sweep:
        sweep.wait_for(lambda: len(nodes.at_work()) == 2)
        assert sweep.wait() == 0, sweep.text
        assert not sweep.named("raylet", "gcs_server")  # it started no Ray of its own
    trials = check_whole(tmp_path, 4, attempts=1)
    check_decisions(tmp_path / "sweep", trials)
    assert read_record(tmp_path / "sweep")["max_concurrent"] == 2
    _wait_until_idle(nodes)


def test_more_than_the_nodes_have_is_refused_at_once(tmp_path: Path, shards: Path, nodes: TwoNodes) -> None:
    # Two ranks find slots on two nodes, one rank with two CPUs on neither.
    config = write_config(tmp_path, shards, resources={"workers": 1, "cpus": 2})
    refused = run_command("--config", str(config), "--ray-address", nodes.address)
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert line.startswith("sweep: error: sweep.resources asks for 1 x (2 CPUs, 0 GPUs) per trial")
    assert "2 x (1 CPUs and 0 GPUs)" in line
    assert not (tmp_path / "sweep" / "sweep.json").exists()


@pytest.mark.slow
def test_auto_is_the_cluster_of_this_machine(
    tmp_path: Path, shards: Path, nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, shards)
    words = ("--config", str(config), "--dry-run", "--ray-address", "auto")
    planned = run_command(*words)
    assert planned.returncode == 0, planned.stderr
    assert "2 at a time (there is room for 2)" in planned.stdout


@pytest.mark.slow
def test_a_lost_node_costs_its_trial_no_more_than_another_start(
    tmp_path: Path, shards: Path, nodes: TwoNodes
) -> None:
    config = write_config(tmp_path, shards, num_trials=2)
    with sweeping(tmp_path, "--config", str(config), "--ray-address", nodes.address) as sweep:
        sweep.wait_for(lambda: len(nodes.at_work()) == 2)
        sweep.wait_for_evaluations(3)
        nodes.kill_second()
        assert sweep.wait() == 0, sweep.text
    trials = check_whole(tmp_path, 3, attempts=1)
    check_decisions(tmp_path / "sweep", trials)
    assert sorted(trial["failures"] for trial in trials) == [0, 0, 1]


@pytest.mark.slow
def test_ranks_of_a_trial_lie_on_both_nodes(tmp_path: Path, shards: Path, nodes: TwoNodes) -> None:
    config = write_config(tmp_path, shards, num_trials=1, resources={"workers": 2, "cpus": 1})
    with sweeping(tmp_path, "--config", str(config), "--ray-address", nodes.address) as sweep:
        sweep.wait_for(lambda: len(nodes.at_work()) == 2)
        assert sweep.wait() == 0, sweep.text
    check_whole(tmp_path, 2, attempts=1)
    _wait_until_idle(nodes)


@pytest.mark.slow
def test_a_cluster_is_rid_of_a_killed_driver_and_takes_the_sweep_up_again(
    tmp_path: Path, shards: Path, nodes: TwoNodes
) -> None:
    config = write_config(tmp_path, shards)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config), "--ray-address", nodes.address) as sweep:
        sweep.wait_for_evaluations(4)
        sweep.process.kill()
    _wait_until_idle(nodes)
    before = read_runs(tmp_path)[1]
    finish(tmp_path, "--resume", f"output={output}", "--ray-address", nodes.address)
    check_decisions(output, check_whole(tmp_path, 4, attempts=2))
    for trial_id, run in before.items():
        assert read_runs(tmp_path)[1][trial_id].info.run_id == run.info.run_id


def _wait_until_idle(nodes: TwoNodes) -> None:
    import time

    deadline = time.monotonic() + GONE_SECONDS
    while left := nodes.at_work():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
