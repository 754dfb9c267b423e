"""The launcher's variables, of which a missing one is named before any rank waits for another."""

import pytest

from langpose_dist.config import ConfigError
from langpose_dist.train.distributed.processes import Layout

VARIABLES = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "LOCAL_WORLD_SIZE": "2",
}


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "LOCAL_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def test_torchrun_and_deepspeed_name_the_ranks_of_a_node_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Layout(rank=3, world_size=4, local_rank=1, local_size=2, is_launched=True)
    assert Layout.from_environment() == expected
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setenv("LOCAL_SIZE", "2")
    assert Layout.from_environment() == expected
    monkeypatch.delenv("LOCAL_SIZE")
    assert Layout.from_environment().local_size == 4  # one node


def test_missing_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(ConfigError, match="set WORLD_SIZE but not LOCAL_RANK, MASTER_PORT"):
        Layout.from_environment()
    monkeypatch.delenv("WORLD_SIZE")
    assert Layout.from_environment() == Layout(0, 1, 0, 1, is_launched=False)
