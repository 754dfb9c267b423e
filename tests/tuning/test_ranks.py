"""Trials of several ranks: they train what one rank does; none is left behind."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.sweeps import (
    check_decisions,
    check_whole,
    finish,
    sweeping,
    write_config,
)
from tuning.ranks import launch_variables

NOLOAD = "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test of real sweeps."""
    return pytest.mark.dist(pytest.mark.slow(pytest.mark.filterwarnings(NOLOAD)(test)))


TWO = {"workers": 2, "cpus": 1}
TRIAL_SECONDS = 20.0


def test_each_rank_gets_what_a_launcher_gives_it() -> None:
    found = launch_variables([("a", ["0"]), ("b", ["3"]), ("a", ["2"])], "10.0.0.1", 1234)
    assert [one["RANK"] for one in found] == ["0", "1", "2"]
    assert [one["LOCAL_RANK"] for one in found] == ["0", "0", "1"]
    assert [one["LOCAL_WORLD_SIZE"] for one in found] == ["2", "1", "2"]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0,2", "3", "0,2"]
    for one in found:
        assert (one["WORLD_SIZE"], one["MASTER_ADDR"], one["MASTER_PORT"]) == ("3", "10.0.0.1", "1234")
    assert "CUDA_VISIBLE_DEVICES" not in launch_variables([("a", []), ("a", [])], "host", 1)[0]


@slow
def test_two_ranks_train_what_one_does_and_give_their_slots_back(tmp_path: Path, shards: Path) -> None:
    found = []
    for name, resources in (("one", {"workers": 1}), ("two", TWO)):
        folder = tmp_path / name
        folder.mkdir()
        # Trials that were stopped and trials that were not: two CPUs hold one of them at a time.
        finish(folder, "--config", str(write_config(folder, shards, resources=resources, max_concurrent=1)))
        trials = check_whole(folder, 4, attempts=1)
        check_decisions(folder / "sweep", trials)
        found.append(trials)
    one, two = found
    assert {trial["status"] for trial in two} == {"finished", "stopped"}
    for alone, together in zip(one, two, strict=True):
        assert together["num_devices"] == 2 * alone["num_devices"]
        assert together["params"] == alone["params"]
        assert _values(together) == pytest.approx(_values(alone), rel=1e-3)


@pytest.mark.parametrize("rank", ["ray::ImplicitFunc", "ray::Rank"], ids=["rank 0", "rank 1"])
@slow
def test_a_killed_rank_costs_its_trial_another_start(tmp_path: Path, shards: Path, rank: str) -> None:
    config = write_config(tmp_path, shards, num_trials=1, resources=TWO)
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(2)
        (victim,) = sweep.named(rank)
        victim.kill()
        assert sweep.wait() == 0, sweep.text
        sweep.wait_until_gone(TRIAL_SECONDS)
    trials = check_whole(tmp_path, 2, attempts=1)
    assert sorted(trial["failures"] for trial in trials) == [0, 1]


@slow
def test_ranks_end_when_the_sweep_is_stopped_and_it_resumes(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=1, resources=TWO)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(2)
        sweep.process.send_signal(signal.SIGTERM)
        assert sweep.wait(30) == 75
        sweep.wait_until_gone(TRIAL_SECONDS)
    finish(tmp_path, "--resume", f"output={output}")
    check_whole(tmp_path, 2, attempts=2)


@slow
def test_ranks_end_with_a_killed_driver_and_the_sweep_resumes(tmp_path: Path, shards: Path) -> None:
    config = write_config(tmp_path, shards, num_trials=2, resources=TWO)
    output = tmp_path / "sweep"
    with sweeping(tmp_path, "--config", str(config)) as sweep:
        sweep.wait_for_evaluations(3)
        assert len(sweep.trials()) == 2
        sweep.process.kill()
        sweep.wait_until_gone(TRIAL_SECONDS, ["ray::Rank", "ray::ImplicitFunc", "tuning.sweep"])
    finish(tmp_path, "--resume", f"output={output}")
    check_decisions(output, check_whole(tmp_path, 3, attempts=2))


def _values(trial: dict[str, Any]) -> dict[str, float]:
    """Every value that both counts of ranks have at the same step, of those that are no ranks of a median."""
    return {
        f"{line['step']} {name}": value
        for line in trial["evaluations"]
        for name, value in line["metrics"].items()
        if name.endswith("mpjpe_mm")
    }
