"""Slots for trials, the reason why one ended, and requests to stop a sweep."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import UserError
from tuning.cluster import check_slots
from tuning.recorder import explain
from tuning.settings import ResourcesConfig
from tuning.stopping import Stopping, SweepInterrupted


def node(cpus: float, gpus: float = 0.0) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus}


@pytest.mark.parametrize(
    ("nodes", "wanted", "slots"),
    [
        ([node(8)], {}, 8),
        ([node(8)], {"cpus": 3}, 2),
        ([node(1), node(1)], {"workers": 2}, 1),
        ([node(1), node(1)], {"cpus": 2}, 0),
        ([node(3), node(3)], {"cpus": 2, "workers": 2}, 1),
        ([node(16, 4), node(16)], {"gpus": 1}, 4),
        ([node(2, 4)], {"gpus": 1}, 2),
        ([node(16, 2)], {"gpus": 0.5}, 4),
        ([node(16, 2)], {"gpus": 0.4}, 4),  # 0.2 of each GPU stays free
        ([node(16, 2)], {"gpus": 0.7}, 2),
        ([node(16, 0.5)], {"gpus": 0.5}, 0),  # of no whole GPU
        ([node(0.3 * 10)], {"cpus": 0.1}, 30),
        ([], {}, 0),
    ],
)
def test_slots_are_counted_node_by_node(nodes: list[Any], wanted: dict[str, Any], slots: int) -> None:
    if slots:
        assert check_slots(nodes, ResourcesConfig(**wanted)) == slots
        return
    with pytest.raises(UserError, match="asks for"):
        check_slots(nodes, ResourcesConfig(**wanted))


def test_what_finds_no_slot_is_told_with_what_there_is() -> None:
    wanted = ResourcesConfig(workers=3, cpus=2)
    with pytest.raises(UserError) as refused:
        check_slots([node(2), node(2), node(1, 1)], wanted)
    assert "3 x (2 CPUs, 0 GPUs) per trial" in str(refused.value)
    assert "2 x (2 CPUs and 0 GPUs), 1 x (1 CPUs and 1 GPUs)" in str(refused.value)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ("", "its process died without reporting an error"),
        (
            "Failure # 1 (occurred at now)\nray.exceptions.RayTaskError: train\nUserError: no data\n",
            "UserError: no data",
        ),
        (
            "Failure # 1 (occurred at now)\nValueError: one\n\nFailure # 2 (occurred at then)\n"
            "The actor died unexpectedly before finishing this task.\nThe actor is dead because its worker "
            "process has died. Worker exit type: SYSTEM_ERROR\n",
            "its process died without reporting an error",
        ),
        (
            "Failure # 1 (occurred at now)\nTask was killed due to the node running low on memory.\n"
            "Memory on the node was 1 / 2 GB\nSet the environment variable\n",
            "Ray ended it: its node ran low on memory; raise sweep.resources.cpus, so that fewer run there",
        ),
    ],
)
def test_the_last_failure_is_told_in_a_line(errors: str, said: str) -> None:
    assert explain(errors) == said


def test_a_request_outside_of_the_loop_stops_there_and_then(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Stopping(tmp_path) as stopping:
        with pytest.raises(SweepInterrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.reason == "SIGTERM"
        stopping.ask("again")  # is not heard twice
        assert stopping.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) == before


def test_in_the_loop_it_is_tunes_own_signal_that_stops(tmp_path: Path) -> None:
    heard: list[int] = []
    with Stopping(tmp_path) as stopping, stopping.in_loop():
        signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))  # as Tune does
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stopping.reason, heard) == ("SIGTERM", [signal.SIGUSR1])
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_file_of_an_earlier_time_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    with Stopping(tmp_path) as stopping:
        stopping.look()
        assert stopping.reason is None
        os.utime(tmp_path / "stop", ns=(1, 1))
        with pytest.raises(SweepInterrupted, match="the stop file"):
            stopping.look()


def test_the_loop_is_told_again_of_a_request_that_it_missed(tmp_path: Path) -> None:
    heard: list[int] = []
    with Stopping(tmp_path) as stopping, stopping.in_loop():
        os.kill(os.getpid(), signal.SIGTERM)  # before Tune listens: its own signal came to nobody
        signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
        stopping.look()
        assert heard == [signal.SIGUSR1]
