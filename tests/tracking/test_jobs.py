"""Real trainings under real launchers, and what their runs hold and end as."""

import json
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.tracking.record import read_state
from tests.tracking.recording import history
from tests.train.jobs import finish, job, make_shards, prepare

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = [
    pytest.mark.dist,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("corpus") / "shards")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


def status_of(client: MlflowClient, run_id: str, *, within: float) -> str:
    """The run's status once it is over."""
    deadline = time.monotonic() + within
    while (status := client.get_run(run_id).info.status) == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.2)
    return status


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("deepspeed", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_run_that_was_stopped_and_killed_is_one_run_with_three_attempts(
    tmp_path: Path, shards: Path, uri: str, launcher: str
) -> None:
    tracking = {"enabled": True, "uri": uri}
    prepare(tmp_path, shards, train={"max_steps": 400, "checkpoint_every": 10}, tracking=tracking)
    client = MlflowClient(uri)
    with job(tmp_path, launcher, words=["--resume-if-started"]) as running:
        running.wait_for_step(20)
        running.ranks()[1].send_signal(signal.SIGTERM)
        assert running.wait_until_gone(40) < 30
    run_id = read_state(RunFolder(tmp_path / "run")).run_id
    assert run_id is not None
    assert client.get_run(run_id).info.status == "KILLED"
    with job(tmp_path, launcher, words=["--resume-if-started"]) as running:
        running.wait_for_step(60)
        running.ranks()[0].send_signal(signal.SIGKILL)
        running.wait_until_gone(60)
        assert status_of(client, run_id, within=15) == "FAILED"
    finish(tmp_path, launcher, words=["--resume-if-started"])
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    attempts = [json.loads(run.data.tags[f"attempt.{number}"]) for number in (1, 2, 3)]
    assert [attempt["status"] for attempt in attempts] == ["KILLED", "FAILED", "FINISHED"]
    assert [attempt["world_size"] for attempt in attempts] == ["2", "2", "2"]
    assert "SIGTERM" in attempts[0]["reason"]
    # Every step once, and with the values of the file.
    lines = read_metrics(tmp_path / "run/metrics.jsonl")
    for name in ("train/loss", "train/loss_con", "train/learning_rate", "validation/masked/mpjpe_mm"):
        expected = [(int(line["step"]), line[name]) for line in lines if name in line]
        assert history(client, run_id, name) == expected
    for rank in (0, 1):
        names = [name for name in run.data.metrics if f"/rank{rank}/cpu_percent" in name]
        assert len(names) == 1
        assert len(history(client, run_id, names[0])) == 400
