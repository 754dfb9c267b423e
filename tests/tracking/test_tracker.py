import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from langpose_dist.config import RUN_LOCK, RunConfig, UserError, build_config
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import save_weights
from langpose_dist.tracking.client import StoreAway, connect
from langpose_dist.tracking.journal import FOLDER, Journal, read_journal, read_state
from langpose_dist.tracking.replay import LOST, replay
from langpose_dist.tracking.runs import metric_name
from langpose_dist.tracking.tracker import MLflowTracker
from tests.tracking.recording import ENVIRONMENT, history, make_config, start
from tests.tracking.registering import evaluation, tiny_config

if TYPE_CHECKING:
    from langpose_dist.train.tracker import Tracker

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that several tests share: making one takes two seconds. The space is part of the test."""
    return f"sqlite:///{tmp_path_factory.mktemp('a store') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def artifact(client: MlflowClient, run_id: str, name: str, folder: Path) -> str:
    return Path(client.download_artifacts(run_id, name, str(folder))).read_text(encoding="utf-8")


def senders() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "langpose_dist.tracking.sender" in (process.info["cmdline"] or [])
    ]


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_run_holds_configuration_environment_metrics_and_artifacts(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    config = make_config(uri, loss={"gamma": 1.5}, data={"path": "s3://user:word@bucket/x" + "p" * 7000})
    run_dir = tmp_path / "first"
    tracker = start(config, run_dir)
    protocol: Tracker = tracker  # checked by pyright
    assert protocol is tracker
    tracker.log_metrics({"train/loss": 2.0, "retrieval/R@1": 0.25}, step=10)
    tracker.log_metrics({"train/loss": float("nan")}, step=20)
    (run_dir / "curves.png").write_text("picture")
    (run_dir / "more").mkdir()
    (run_dir / "more" / "a.json").write_text("{}")
    tracker.log_artifact(run_dir / "curves.png", "pictures")
    tracker.log_artifact(run_dir / "more")
    tracker.finish("FINISHED")

    record = tracker.record
    assert record["tracking_uri"] == uri
    run = client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["loss.gamma"] == "1.5"
    assert run.data.params["optimizer.betas"] == "[0.9, 0.999]"
    assert run.data.params["train.max_steps"] == "null"
    assert run.data.params["data.path"].startswith("s3://REDACTED@bucket/xp")
    assert len(run.data.params["data.path"]) == 6000
    expected = {
        "config_hash": config.hash(),
        "data_fingerprint": "d" * 64,
        "git_commit": "abc123",
        "git_dirty": "true",
        "mlflow.source.git.commit": "abc123",
        "langpose.run_uid": record["run_uid"],
        "attempts": "1",
    }
    assert expected.items() <= run.data.tags.items()
    attempt = json.loads(run.data.tags["attempt.1"])
    assert (attempt["status"], attempt["nodes"], attempt["from_step"]) == ("FINISHED", "node-a, node-b", 0)
    assert run.inputs is not None
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("walks", "d" * 36)
    assert history(client, record["run_id"], "retrieval/R_1") == [(10, 0.25)]
    (first, second) = history(client, record["run_id"], "train/loss")
    assert first == (10, 2.0)
    assert second[1] != second[1]
    stamps = [metric.timestamp for metric in client.get_metric_history(record["run_id"], "train/loss")]
    assert all(abs(stamp / 1000 - time.time()) < 60 for stamp in stamps)
    text = artifact(client, record["run_id"], "config.yaml", tmp_path)
    assert "gamma: 1.5" in text
    environment = json.loads(artifact(client, record["run_id"], "environment.json", tmp_path))
    assert environment == ENVIRONMENT | {"HF_TOKEN": "REDACTED"}
    assert artifact(client, record["run_id"], "constraints.txt", tmp_path) == "numpy==2.4.6\n"
    assert artifact(client, record["run_id"], "pictures/curves.png", tmp_path / "more") == "picture"
    names = {item.path for item in client.list_artifacts(record["run_id"])}
    assert names == {"a.json", "config.yaml", "constraints.txt", "environment.json", "pictures"}
    store = Path(uri.removeprefix("sqlite:///")).parent
    assert (store / "mlartifacts/an-experiment" / record["run_id"] / "artifacts/config.yaml").is_file()
    everything = b"".join(path.read_bytes() for path in (run_dir / FOLDER).iterdir())
    assert b"word" not in everything
    assert b"hf_secret" not in everything


def test_the_default_store_stays_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = start(RunConfig(), tmp_path / "runs/other")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracker.log_artifact(tmp_path / "runs/other/config.yaml", "again")
    tracker.finish("FINISHED")
    assert {path.name for path in tmp_path.iterdir()} == {
        "elsewhere",
        "mlartifacts",
        "mlflow.db",
        "mlflow.db.lock",
        "runs",
    }
    assert not list((tmp_path / "elsewhere").iterdir())
    assert list((tmp_path / "mlartifacts").rglob("artifacts/again/config.yaml"))
    # Nothing of how MLflow builds its tables.
    output = capfd.readouterr()
    assert output.out + output.err == ""
    assert (tmp_path / "runs/other/tracking/sender.log").read_text() == ""


def test_the_environment_names_the_store_where_the_configuration_does_not(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracker = start(RunConfig(), tmp_path / "run")
    tracker.finish("FINISHED")
    assert client.get_run(tracker.record["run_id"]).info.status == "FINISHED"


def test_a_resumed_run_goes_on_in_its_record_without_repeating_values(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    first = tracker.record
    for step in (1, 2, 3):
        tracker.log_metrics({"train/loss": float(step)}, step)
    tracker.finish("KILLED", "SIGTERM at step 2")
    assert client.get_run(first["run_id"]).info.status == "KILLED"
    # The last checkpoint was of step 1, so that 2 and 3 are done again.
    tracker = start(make_config(uri, train={"max_steps": 7}), tmp_path, resumed=True, step=1)
    assert tracker.record == first
    assert client.get_run(first["run_id"]).info.status == "RUNNING"
    for step in (2, 3, 4):
        tracker.log_metrics({"train/loss": float(step), "train/new": 0.0}, step)
    tracker.finish("FINISHED")
    run = client.get_run(first["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.max_steps"] == "null"
    assert json.loads(run.data.tags["changed_on_resume"]) == {"train.max_steps": "7"}
    assert history(client, first["run_id"], "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert len(history(client, first["run_id"], "train/new")) == 3
    assert run.data.tags["attempts"] == "2"
    attempts = [json.loads(run.data.tags[f"attempt.{number}"]) for number in (1, 2)]
    assert [attempt["status"] for attempt in attempts] == ["KILLED", "FINISHED"]
    assert [attempt["from_step"] for attempt in attempts] == [0, 1]
    assert attempts[0]["reason"] == "SIGTERM at step 2"


def test_an_attempt_that_came_to_no_step_leaves_its_folder_to_the_next(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    first = start(make_config(uri), tmp_path)
    first.finish("FAILED", "no such text encoder")
    second = start(make_config(uri, loss={"gamma": 1.0}), tmp_path)
    second.finish("FINISHED")
    assert first.record != second.record or read_state(tmp_path).run_id == second.record["run_id"]
    run = client.get_run(second.record["run_id"])
    assert run.data.params["loss.gamma"] == "1.0"
    assert "changed_on_resume" not in run.data.tags


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
    assert read_state(tmp_path).refused == 0


def test_a_checkpoint_finds_the_run_where_the_journal_is_gone(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path / "here")
    tracker.finish("KILLED")
    run_id = tracker.record["run_id"]
    tracker = start(make_config(uri), tmp_path / "moved", resumed=True, step=5, run_id=run_id)
    tracker.finish("FINISHED")
    assert tracker.record["run_id"] == run_id
    assert client.get_run(run_id).info.status == "FINISHED"


def test_runs_are_linked_to_those_they_came_from(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    pretraining = start(make_config(uri), tmp_path / "pretraining")
    pretraining.finish("FINISHED")
    parent = client.create_run("0").info.run_id
    tracker = start(
        make_config(uri, tracking={"parent_run_id": parent}),
        tmp_path / "finetuning",
        origin={"run_uid": pretraining.record["run_uid"]},
    )
    tracker.finish("FINISHED")
    tags = client.get_run(tracker.record["run_id"]).data.tags
    assert tags["mlflow.parentRunId"] == parent
    assert tags["initial_weights.run_id"] == pretraining.record["run_id"]


def test_what_mlflow_refuses_is_set_aside_and_the_rest_goes_on(
    uri: str, client: MlflowClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"good": 1.0}, 1)
    tracker.log_metrics({"n" * 300: 1.0, "lost": 1.0}, 2)  # longer than MLflow takes
    tracker.log_metrics({"good": 3.0}, 3)
    (tmp_path / "gone.png").write_text("")
    tracker.log_artifact(tmp_path / "gone.png", "folder")
    (tmp_path / "gone.png").unlink()
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "good") == [(1, 1.0), (3, 3.0)]
    assert client.get_run(run_id).info.status == "FINISHED"
    refused = [json.loads(line) for line in (tmp_path / FOLDER / "refused.jsonl").read_text().splitlines()]
    assert refused[0]["step"] == 2
    assert "refused.jsonl" in caplog.text or "MLflow took all but" in caplog.text


def test_a_bad_value_takes_none_of_its_neighbours_along(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"good": 1.0, "a//b": 2.0, "also good": 3.0}, 1)
    tracker.finish("FINISHED")
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "good") == [(1, 1.0)]
    assert history(client, run_id, "also good") == [(1, 3.0)]
    (refused,) = (tmp_path / FOLDER / "refused.jsonl").read_text().splitlines()
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


def test_hundreds_of_nodes_and_a_long_reason_fit_into_a_tag(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = ", ".join(f"a-rather-long-name-of-node-{number // 8:04}" for number in range(1024))
    monkeypatch.setitem(ENVIRONMENT, "nodes", nodes)
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("FAILED", "because " * 5000)
    run = client.get_run(tracker.record["run_id"])
    assert run.info.status == "FAILED"
    attempt = json.loads(run.data.tags["attempt.1"])
    assert attempt["nodes"].startswith("a-rather-long-name-of-node-0000, a-rather-long-name-of-node-0001")


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
    assert read_state(tmp_path).refused == 1  # an answer was waited for


def test_no_process_can_be_started_and_training_goes_on(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start(make_config(uri), tmp_path)
    with monkeypatch.context() as shortage:
        shortage.setattr("langpose_dist.tracking.sender._RESTART_SECONDS", 0.0)
        shortage.setattr("langpose_dist.tracking.sender.subprocess.Popen", refuse_to_start)
        (sender,) = [sender for sender in senders() if str(tmp_path) in sender.cmdline()]
        sender.kill()
        (tmp_path / "file").write_text("")
        tracker.log_artifact(tmp_path / "file")
        tracker.log_metrics({"loss": 1.0}, 1)
    monkeypatch.setattr("langpose_dist.tracking.sender._RESTART_SECONDS", 0.0)
    tracker.finish("FINISHED")
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0)]


def refuse_to_start(*arguments: object, **options: object) -> None:
    raise OSError(12, "Cannot allocate memory")


def test_a_new_run_in_the_folder_of_a_killed_one_closes_that(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        (sender,) = psutil.Process(process.pid).children()
        sender.kill()
        process.kill()
    first = read_state(tmp_path).run_id
    assert first is not None
    assert client.get_run(first).info.status == "RUNNING"
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("FINISHED")
    assert tracker.record["run_id"] != first
    assert client.get_run(first).info.status == "FAILED"
    assert client.get_run(tracker.record["run_id"]).info.status == "FINISHED"


def test_a_replay_leaves_a_training_open_whose_sender_is_gone(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        (sender,) = psutil.Process(process.pid).children()
        sender.kill()
        wait_until(lambda: sender.status() == psutil.STATUS_ZOMBIE, 5)
        with FileLock(tmp_path / RUN_LOCK):
            _, state = replay(client, tmp_path)
            assert state.run_id is not None
            assert client.get_run(state.run_id).info.status == "RUNNING"
        process.kill()
    replay(client, tmp_path)
    assert client.get_run(state.run_id).info.status == "FAILED"


def test_a_request_to_stop_cuts_the_waiting_short(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tracker = MLflowTracker(make_config(f"http://127.0.0.1:{server.getsockname()[1]}").tracking)
        config = make_config("sqlite:///x.db")
        tracker.start(
            config=config,
            run_dir=tmp_path,
            dataset="",
            data_fingerprint="",
            environment={},
            packages="",
            origin={},
            resumed=False,
            step=0,
            is_stopping=lambda: True,
        )
        began = time.monotonic()
        tracker.finish("FINISHED")
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("folder", ["../up", "/etc", "a/../../b", "..\\up"])
def test_an_artifact_stays_in_the_run(tmp_path: Path, uri: str, folder: str) -> None:
    tracker = start(make_config(uri), tmp_path / "run")
    try:
        with pytest.raises(ValueError, match="leads out"):
            tracker.log_artifact(tmp_path / "run/config.yaml", folder)
        (tmp_path / "outside").write_text("")
        with pytest.raises(ValueError, match="outside"):
            tracker.log_artifact(tmp_path / "outside")
    finally:
        tracker.finish("FINISHED")


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


def test_a_killed_process_loses_nothing_and_its_run_is_closed(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        process.kill()
    wait_until(lambda: not any(str(tmp_path) in sender.cmdline() for sender in senders()), 15)
    run_id = read_state(tmp_path).run_id
    assert run_id is not None
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert json.loads(run.data.tags["attempt.1"])["reason"] == LOST
    assert len(history(client, run_id, "loss")) == 100


def test_signals_for_the_whole_job_leave_the_sender_at_work(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        (sender,) = psutil.Process(process.pid).children()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            sender.send_signal(number)
        process.kill()
        sender.wait(15)
    run_id = read_state(tmp_path).run_id
    assert run_id is not None
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_killed_sender_is_replaced(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langpose_dist.tracking.sender._RESTART_SECONDS", 0.0)
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"loss": 1.0}, 1)
    (sender,) = [sender for sender in senders() if str(tmp_path) in sender.cmdline()]
    sender.kill()
    tracker.log_metrics({"loss": 2.0}, 2)
    tracker.finish("FINISHED")
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0), (2, 2.0)]


def test_a_replay_sends_and_closes_what_both_processes_left(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        with pytest.raises(UserError, match="its training is running"):
            replay(client, tmp_path)
        (sender,) = psutil.Process(process.pid).children()
        os.kill(sender.pid, signal.SIGKILL)
        process.kill()
    wait_until(lambda: not sender.is_running() or sender.status() == psutil.STATUS_ZOMBIE, 5)
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
        (tmp_path / FOLDER / "state.json").unlink()
        count, state = replay(client, tmp_path)
        assert count == 5
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
    (tmp_path / FOLDER / "state.json").unlink()
    replay(client, tmp_path)
    assert read_state(tmp_path).run_id == first.info.run_id
    assert client.get_run(double).info.lifecycle_stage == "deleted"
    assert client.get_run(copy).info.lifecycle_stage == "active"


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"uri": "mlruns"}, "tracking.uri='mlruns' is no tracking store"),
        ({"uri": "ftp://user:word@host"}, "tracking.uri='ftp://REDACTED@host' is no tracking store"),
        ({"uri": "sqlite://"}, "names no file"),
        ({"uri": "mysql+nodriver://user:word@host/db"}, "cannot be used"),
        ({"uri": "sqlite:///{tmp_path}/text.db"}, "file is not a database"),
        ({"uri": "http://user:word@127.0.0.1:9", "required": "true"}, "tracking.required is set"),
        ({"register_as": "a/b"}, "tracking.register_as='a/b'"),
        ({"register_as": "a", "alias": "v1"}, "tracking.alias='v1'"),
        ({"register_as": "a", "alias": "latest"}, "tracking.alias='latest'"),
        ({"register_as": "a", "alias": "a b"}, "tracking.alias='a b'"),
    ],
)
def test_a_wrong_configuration_is_one_line_within_seconds(
    tmp_path: Path, tracking: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("this is a text that is longer than the header of a database" * 20)
    tracking = {key: value.replace("{tmp_path}", str(tmp_path)) for key, value in tracking.items()}
    started = time.monotonic()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        MLflowTracker(build_config({"tracking": tracking}).tracking).check()
    assert time.monotonic() - started < 15
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_server_that_is_away_at_the_start_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "http://user:word@127.0.0.1:9"
    with caplog.at_level(logging.WARNING):
        tracker = start(make_config(uri), tmp_path)
        tracker.log_metrics({"loss": 1.0}, 1)
        started = time.monotonic()
        tracker.finish("KILLED")
    assert time.monotonic() - started < 14
    assert "run_id" not in tracker.record
    assert "sent when the store is back" in caplog.messages[0]
    assert f"langpose registry replay {tmp_path}" in caplog.messages[-1]
    assert "word" not in caplog.text
    assert [record.kind for record in read_journal(tmp_path)] == ["open", "metrics", "close"]


def test_a_server_that_hangs_holds_nothing_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the start alone, to save the test's time.
    monkeypatch.setattr("langpose_dist.tracking.tracker._CHECK_SECONDS", "3")
    monkeypatch.setattr("langpose_dist.tracking.tracker._OPENING_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        began = time.monotonic()
        tracker = start(make_config(f"http://127.0.0.1:{server.getsockname()[1]}"), tmp_path)
        assert time.monotonic() - began < 12
        began = time.monotonic()
        for step in range(100):
            tracker.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - began < 1
        began = time.monotonic()
        tracker.finish("KILLED")
        assert time.monotonic() - began < 14
        wait_until(lambda: not any(str(tmp_path) in sender.cmdline() for sender in senders()), 15)
    assert len(list(read_journal(tmp_path))) == 102


@pytest.mark.parametrize("status", [404, 500, pytest.param(503, marks=pytest.mark.slow)])
def test_a_server_that_answers_nonsense_stops_no_training(tmp_path: Path, status: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>a proxy's page</html>")

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            config = make_config(f"http://127.0.0.1:{server.server_port}")
            if status == 404:  # whatever that is, it is not MLflow
                with pytest.raises(UserError, match="cannot be used") as caught:
                    start(config, tmp_path)
                assert "\n" not in str(caught.value)
            else:
                tracker = start(config, tmp_path)
                tracker.log_metrics({"loss": 1.0}, 1)
                tracker.finish("KILLED")
                assert [record.kind for record in read_journal(tmp_path)] == ["open", "metrics", "close"]
        finally:
            server.shutdown()
            thread.join()


def test_a_database_that_takes_connections_and_never_answers_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert int(os.environ["PGCONNECT_TIMEOUT"]) <= 10  # set where the user has not
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"postgresql+psycopg://user:word@127.0.0.1:{server.getsockname()[1]}/db"
        began = time.monotonic()
        with pytest.raises(StoreAway) as caught:
            connect(uri, create=True)
    assert time.monotonic() - began < 8
    assert "word" not in str(caught.value)


def test_a_disk_that_is_full_to_the_end_is_said_and_registers_nothing(
    uri: str, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(make_config(uri, tracking={"register_as": "never"}), small_disk)
    (small_disk / "model.safetensors").write_text("")
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 512)
    for step in range(100):
        tracker.log_metrics({"loss": 1.0}, step)
    assert tracker.register(small_disk / "model.safetensors", evaluation()) is None
    tracker.finish("KILLED")
    assert "are lost when this process ends" in caplog.text


def test_a_deleted_experiment_is_not_written_to(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    config = build_config({"tracking": {"uri": uri, "experiment": "gone"}})
    with pytest.raises(UserError, match="was deleted; restore it"):
        MLflowTracker(config.tracking).check()


def test_nothing_is_registered_without_a_name(uri: str, tmp_path: Path) -> None:
    tracker = start(make_config(uri), tmp_path)
    assert tracker.register(tmp_path / "model.safetensors", {}) is None
    tracker.finish("FINISHED")


def test_a_journal_says_where_it_belongs(client: MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no journal"):
        replay(client, tmp_path)
    Journal(tmp_path).append("metrics", step=1, time=1, values={"a": 1.0})
    with pytest.raises(UserError, match="nothing of the run"):
        replay(client, tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"), [("validation/masked/mpjpe_mm", "validation/masked/mpjpe_mm"), ("R@1", "R_1")]
)
def test_metric_names_are_what_mlflow_takes(name: str, expected: str) -> None:
    assert metric_name(name) == expected
