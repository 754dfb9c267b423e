import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from langpose_dist.config import UserError
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import MetricsFile
from langpose_dist.tracking.mirror import replay
from langpose_dist.tracking.record import read_state
from tests.exports import save_weights
from tests.tracking.recording import history, make_config, recording_process, start, wait_until
from tests.tracking.registering import evaluation, tiny_config

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


def test_a_run_that_the_store_forgot_is_sent_anew(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    tracker.finish("KILLED")
    first = tracker.record["run_id"]
    client.delete_run(first)
    tracker = start(make_config(uri), tmp_path, resumed=True, step=1)
    tracker.log_metrics({"train/loss": 2.0}, 2)
    tracker.finish("FINISHED")
    second = tracker.record["run_id"]
    assert second != first
    assert history(client, second, "train/loss") == [(1, 1.0), (2, 2.0)]
    assert client.get_run(second).info.status == "FINISHED"


def test_a_run_deleted_under_its_training_is_sent_anew(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    first = tracker.record["run_id"]
    client.delete_run(first)
    tracker.log_metrics({"train/loss": 2.0}, 2)
    tracker.finish("FINISHED")
    second = tracker.record["run_id"]
    assert second != first
    assert history(client, second, "train/loss") == [(1, 1.0), (2, 2.0)]
    assert read_state(RunFolder(tmp_path)).refused == 0


def test_what_mlflow_refuses_is_set_aside_and_the_rest_is_sent(
    uri: str, client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"good": 1.0}, 1)
    tracker.log_metrics({"n" * 300: 1.0, "kept": 1.0}, 2)  # longer than MLflow takes
    tracker.log_metrics({"good": 3.0}, 3)
    (tmp_path / "gone.png").write_text("")
    tracker.log_artifact(tmp_path / "gone.png", "folder")
    (tmp_path / "gone.png").unlink()
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "good") == [(1, 1.0), (3, 3.0)]
    assert history(client, run_id, "kept") == [(2, 1.0)]
    assert client.get_run(run_id).info.status == "FINISHED"
    refused = [
        json.loads(line) for line in (RunFolder(tmp_path).tracking / "refused.jsonl").read_text().splitlines()
    ]
    assert refused[0]["step"] == 2
    assert [record["kind"] for record in refused] == ["metrics", "artifact"]
    assert "MLflow took all but 2 records" in caplog.text


def test_a_bad_value_takes_none_of_its_neighbours_along(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"good": 1.0, "a//b": 2.0, "also good": 3.0}, 1)
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "good") == [(1, 1.0)]
    assert history(client, run_id, "also good") == [(1, 3.0)]
    (refused,) = (RunFolder(tmp_path).tracking / "refused.jsonl").read_text().splitlines()
    assert json.loads(refused)["values"] == {"a//b": 2.0}


def test_a_registration_that_fails_holds_nothing_back(
    uri: str, client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(make_config(uri, tracking={"register_as": "a-model"}), tmp_path)
    (tmp_path / "model.safetensors").write_text("no weights")
    (tmp_path / "config.yaml").write_text("{")  # whatever goes wrong
    assert tracker.register(tmp_path / "model.safetensors", {}) is None
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "loss") == [(1, 1.0)]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert "was not registered" in caplog.text


def test_a_value_that_is_refused_is_no_registration_that_is(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracking = {"uri": uri, "experiment": "an experiment", "register_as": "registered-all-the-same"}
    config = tiny_config(tracking=tracking)
    weights = tmp_path / "model.safetensors"
    save_weights(weights, LangPose(config, text_dim=12), config, {})
    for resumed in (False, True):
        tracker = start(config, tmp_path, resumed=resumed)
        tracker.log_metrics({"a//b": 1.0}, 1 + resumed)
        assert tracker.register(weights, evaluation()) == "registered-all-the-same/1"
        tracker.finish("FINISHED")
    (version,) = client.search_model_versions("name='registered-all-the-same'")
    assert version.run_id == tracker.record["run_id"]


def test_a_user_who_has_asynchronous_logging_on_loses_nothing(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    tracker = start(make_config(uri), tmp_path)
    for step in range(100):
        tracker.log_metrics({"loss": float(step)}, step)
    tracker.log_metrics({"a//b": 1.0}, 0)
    tracker.finish("FINISHED")
    assert len(history(client, tracker.record["run_id"], "loss")) == 100
    assert read_state(RunFolder(tmp_path)).refused == 1  # an answer was waited for


def test_a_replay_leaves_a_training_open_whose_sender_is_gone(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        (sender,) = psutil.Process(process.pid).children()
        sender.kill()
        wait_until(lambda: sender.status() == psutil.STATUS_ZOMBIE)
        with RunFolder(tmp_path).lock(0.0):
            _, state = replay(client, tmp_path)
            assert state.run_id is not None
            assert client.get_run(state.run_id).info.status == "RUNNING"
        process.kill()
    replay(client, tmp_path)
    assert client.get_run(state.run_id).info.status == "FAILED"


@pytest.mark.slow
def test_a_replay_sends_and_closes_what_both_processes_left(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        with pytest.raises(UserError, match="its training is running"):
            replay(client, tmp_path)
        (sender,) = psutil.Process(process.pid).children()
        os.kill(sender.pid, signal.SIGKILL)
        process.kill()
    wait_until(lambda: not sender.is_running() or sender.status() == psutil.STATUS_ZOMBIE)
    replay(client, tmp_path)
    count, state = replay(client, tmp_path)
    assert count == 0
    assert state.run_id is not None
    assert client.get_run(state.run_id).info.status == "FAILED"
    assert len(history(client, state.run_id, "loss")) == 100


def test_sending_everything_again_changes_nothing(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    tracker = start(make_config(uri), tmp_path)
    for step in range(3):
        tracker.log_metrics({"loss": float(step), "nan": float("nan"), "inf": float("inf")}, step)
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    before = client.get_run(run_id)
    number = len(client.search_runs([before.info.experiment_id]))
    for _ in range(2):
        (RunFolder(tmp_path).tracking / "state.json").unlink()
        count, state = replay(client, tmp_path)
        assert count == 3  # files alone
        assert state.run_id == run_id
    after = client.get_run(run_id)
    assert after.data.tags == before.data.tags
    assert after.info.end_time == before.info.end_time
    assert len(client.search_runs([before.info.experiment_id])) == number
    for name in ("loss", "nan", "inf"):
        assert len(history(client, run_id, name)) == 3


def test_a_run_made_twice_by_a_lost_answer_is_one_run(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("FINISHED")
    first = client.get_run(tracker.record["run_id"])
    tags = {"langpose.run_uid": tracker.record["run_uid"]}
    double = client.create_run(first.info.experiment_id, tags=tags).info.run_id
    copy = client.create_run(first.info.experiment_id, tags=tags).info.run_id
    client.log_metric(copy, "its own", 1.0)
    (RunFolder(tmp_path).tracking / "state.json").unlink()
    replay(client, tmp_path)
    assert read_state(RunFolder(tmp_path)).run_id == first.info.run_id
    assert client.get_run(double).info.lifecycle_stage == "deleted"
    assert client.get_run(copy).info.lifecycle_stage == "active"


def test_a_finished_run_that_was_deleted_is_sent_anew_by_replay(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.finish("FINISHED")
    first = tracker.record["run_id"]
    client.delete_run(first)
    count, state = replay(client, tmp_path)
    assert (count, state.run_id != first) == (4, True)
    assert history(client, str(state.run_id), "loss") == [(1, 1.0)]


def test_the_values_of_the_run_s_own_file_are_sent_once_also_when_it_is_rewritten(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        metrics.append({"loss": float(step)}, step)
    tracker.finish("KILLED")
    tracker = start(make_config(uri), tmp_path, resumed=True, step=1)
    metrics = MetricsFile(tmp_path / "metrics.jsonl", step=1)
    for step in (2, 3, 4):
        metrics.append({"loss": float(step)}, step)
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    stamps = [metric.timestamp for metric in client.get_metric_history(run_id, "loss")]
    assert all(abs(stamp / 1000 - time.time()) < 600 for stamp in stamps)


def test_a_folder_without_a_record_is_one_line(client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no record of a run"):
        replay(client, tmp_path)
