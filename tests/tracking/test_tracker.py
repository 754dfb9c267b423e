import json
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.tracking.client import StoreUnavailable, connect
from langpose_dist.tracking.runs import metric_name
from langpose_dist.tracking.tracker import MLflowTracker
from tests.tracking.recording import ENVIRONMENT, history, make_config, start

if TYPE_CHECKING:
    from langpose_dist.runs.tracker import Tracker

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
ROOT = Path(__file__).parents[2]


def artifact(client: MlflowClient, run_id: str, name: str, folder: Path) -> str:
    return Path(client.download_artifacts(run_id, name, str(folder))).read_text(encoding="utf-8")


def test_a_run_holds_configuration_environment_metrics_and_artifacts(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    config = make_config(uri, loss={"gamma": 1.5}, data={"path": "s3://user:s3cret@bucket/x" + "p" * 7000})
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
    contexts = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert {context: dataset.name for context, dataset in contexts.items()} == {
        "training": "walks (train)",
        "validation": "walks (validation)",
    }
    for dataset in contexts.values():
        assert (dataset.digest, dataset.source_type) == ("d" * 36, "s3")
        assert json.loads(dataset.source)["uri"].startswith("s3://REDACTED@bucket/xp")
        (keypoints,) = json.loads(json.loads(str(dataset.schema))["mlflow_tensorspec"]["features"])
        assert keypoints["name"] == "keypoints_2d"
        assert keypoints["tensor-spec"] == {"dtype": "float32", "shape": [-1, 243, 17, 3]}
    assert run.data.tags["mlflow.source.type"] == "LOCAL"
    assert history(client, record["run_id"], "retrieval/R_1") == [(10, 0.25)]
    (first, second) = history(client, record["run_id"], "train/loss")
    assert first == (10, 2.0)
    assert second[1] != second[1]
    stamps = [metric.timestamp for metric in client.get_metric_history(record["run_id"], "train/loss")]
    assert all(abs(stamp / 1000 - time.time()) < 600 for stamp in stamps)
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
    everything = b"".join(path.read_bytes() for path in (run_dir / "tracking").rglob("*.*"))
    assert b"s3cret" not in everything
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


def test_a_resumed_run_continues_its_record_without_repeating_values(
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
    first_id = first.record["run_id"]
    first.finish("FAILED", "no such text encoder")
    second = start(make_config(uri, loss={"gamma": 1.0}), tmp_path)
    second.finish("FINISHED")
    assert second.record["run_id"] != first_id
    assert client.get_run(first_id).info.status == "FAILED"
    run = client.get_run(second.record["run_id"])
    assert run.data.params["loss.gamma"] == "1.0"
    assert "changed_on_resume" not in run.data.tags


def test_a_checkpoint_finds_the_run_where_its_record_is_gone(
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


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"uri": "mlruns"}, "tracking.uri='mlruns' is no tracking store"),
        ({"uri": "ftp://user:word@host"}, "tracking.uri='ftp://REDACTED@host' is no tracking store"),
        ({"uri": "sqlite://"}, "names no file"),
        ({"uri": "mysql+nodriver://user:word@host/db"}, "cannot be used"),
        ({"uri": "sqlite:///{tmp_path}/text.db"}, "file is not a database"),
        ({"uri": "http://user:word@127.0.0.1:9", "required": True}, "tracking.required is set"),
        ({"register_as": "a/b"}, "tracking.register_as='a/b'"),
        ({"register_as": "a", "alias": "v1"}, "tracking.alias='v1'"),
        ({"register_as": "a", "alias": "latest"}, "tracking.alias='latest'"),
        ({"register_as": "a", "alias": "a b"}, "tracking.alias='a b'"),
    ],
)
def test_a_wrong_configuration_is_one_line_within_seconds(
    tmp_path: Path, tracking: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("this is a text that is longer than the header of a database" * 20)
    if "uri" in tracking:
        tracking = {**tracking, "uri": str(tracking["uri"]).replace("{tmp_path}", str(tmp_path))}
    started = time.monotonic()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        MLflowTracker(build_config({"tracking": tracking}).tracking).check()
    assert time.monotonic() - started < 60
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_database_that_takes_connections_and_never_answers_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert int(os.environ["PGCONNECT_TIMEOUT"]) <= 10  # set where the user has not
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"postgresql+psycopg://user:word@127.0.0.1:{server.getsockname()[1]}/db"
        began = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            connect(uri, create=True)
    assert time.monotonic() - began < 60
    assert "word" not in str(caught.value)


def test_a_deleted_experiment_is_not_written_to(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    client.delete_experiment(client.create_experiment("gone"))
    config = build_config({"tracking": {"uri": uri, "experiment": "gone"}})
    with pytest.raises(UserError, match="was deleted; restore it"):
        MLflowTracker(config.tracking).check()


def test_nothing_is_registered_without_a_name(uri: str, tmp_path: Path) -> None:
    tracker = start(make_config(uri), tmp_path)
    assert tracker.register(tmp_path / "model.safetensors", {}) is None
    tracker.finish("FINISHED")


@pytest.mark.parametrize(
    ("name", "expected"), [("validation/masked/mpjpe_mm", "validation/masked/mpjpe_mm"), ("R@1", "R_1")]
)
def test_metric_names_are_what_mlflow_takes(name: str, expected: str) -> None:
    assert metric_name(name) == expected
