import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.tracking.runs import MLflowTracker, metric_name, param_value

if TYPE_CHECKING:
    from langpose_dist.train.tracker import Tracker

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

ENVIRONMENT = {"python": "3.11.7", "git_commit": "abc123", "git_dirty": "true", "HF_TOKEN": "hf_secret"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that several tests share: making one takes two seconds. The space is part of the test."""
    return tmp_path_factory.mktemp("a store") / "mlflow.db"


def make_config(uri: str, **content: object) -> RunConfig:
    return build_config({"tracking": {"uri": uri, "experiment": "an experiment"}, **content})


def start(
    config: RunConfig, run_id: str | None = None, run_dir: Path = Path("runs/first")
) -> tuple[MLflowTracker, str]:
    tracker = MLflowTracker(config.tracking)
    protocol: Tracker = tracker  # checked by pyright
    assert protocol is tracker
    record = tracker.start(
        config=config, run_dir=run_dir, data_fingerprint="data-1", environment=ENVIRONMENT, run_id=run_id
    )
    return tracker, record["run_id"]


def artifact(client: MlflowClient, run_id: str, name: str, folder: Path) -> str:
    return Path(client.download_artifacts(run_id, name, str(folder))).read_text(encoding="utf-8")


def test_a_run_records_configuration_environment_metrics_and_artifacts(store: Path, tmp_path: Path) -> None:
    config = make_config(f"sqlite:///{store}", loss={"gamma": 1.5}, data={"path": "s3://user:word@bucket/x"})
    tracker, run_id = start(config)
    tracker.log_metrics({"train/loss": 2.0, "retrieval/R@1": 0.25}, step=10)
    tracker.log_metrics({"train/loss": 1.0}, step=20)
    (tmp_path / "curves.png").write_text("picture")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.json").write_text("{}")
    tracker.log_artifact(tmp_path / "curves.png", "pictures")
    tracker.log_artifact(tmp_path / "more")
    tracker.finish("FINISHED")

    client = MlflowClient(f"sqlite:///{store}")
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params["loss.gamma"] == "1.5"
    assert run.data.params["optimizer.betas"] == "[0.9, 0.999]"
    assert run.data.params["train.max_steps"] == "null"
    assert run.data.params["data.path"] == "s3://REDACTED@bucket/x"
    assert run.data.tags["config_hash"] == config.hash()
    assert run.data.tags["data_fingerprint"] == "data-1"
    assert run.data.tags["git_commit"] == "abc123"
    assert run.data.tags["git_dirty"] == "true"
    assert run.data.metrics == {"train/loss": 1.0, "retrieval/R_1": 0.25}
    history = client.get_metric_history(run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(10, 2.0), (20, 1.0)]
    assert all(abs(metric.timestamp / 1000 - time.time()) < 60 for metric in history)
    text = artifact(client, run_id, "config.yaml", tmp_path)
    assert "gamma: 1.5" in text
    assert "word" not in text
    environment = json.loads(artifact(client, run_id, "environment.json", tmp_path))
    assert environment == ENVIRONMENT | {"HF_TOKEN": "REDACTED"}
    assert artifact(client, run_id, "pictures/curves.png", tmp_path / "more") == "picture"
    assert {item.path for item in client.list_artifacts(run_id)} == {
        "a.json",
        "config.yaml",
        "environment.json",
        "pictures",
    }
    assert (store.parent / "mlartifacts" / "an-experiment" / run_id / "artifacts" / "config.yaml").is_file()


def test_the_default_store_stays_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tracker, run_id = start(RunConfig(), run_dir=Path("runs/other"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tracker.log_artifact(tmp_path / "mlflow.db.lock")
    tracker.finish("FINISHED")
    assert {path.name for path in tmp_path.iterdir()} == {
        "elsewhere",
        "mlartifacts",
        "mlflow.db",
        "mlflow.db.lock",
    }
    assert not list((tmp_path / "elsewhere").iterdir())
    assert list((tmp_path / "mlartifacts").rglob(f"{run_id}/artifacts/mlflow.db.lock"))
    # Nothing of how MLflow builds its tables.
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_the_environment_names_the_store_where_the_configuration_does_not(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    tracker, run_id = start(RunConfig())
    tracker.finish("FINISHED")
    assert MlflowClient(f"sqlite:///{store}").get_run(run_id).info.status == "FINISHED"


def test_a_run_is_continued_and_says_what_changed(store: Path) -> None:
    uri = f"sqlite:///{store}"
    tracker, first = start(make_config(uri))
    tracker.log_metrics({"train/loss": 2.0}, step=10)
    tracker.finish("KILLED")
    client = MlflowClient(uri)
    assert client.get_run(first).info.status == "KILLED"
    tracker, second = start(make_config(uri, train={"max_steps": 7}), run_id=first)
    assert second == first
    assert client.get_run(first).info.status == "RUNNING"
    tracker.log_metrics({"train/loss": 1.0}, step=20)
    tracker.finish("FINISHED")
    run = client.get_run(first)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.max_steps"] == "null"
    assert json.loads(run.data.tags["changed_on_resume"]) == {"train.max_steps": "7"}
    assert [metric.step for metric in client.get_metric_history(first, "train/loss")] == [10, 20]


def test_a_run_that_the_store_forgot_is_created_anew(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    missing = "0" * 32
    tracker, run_id = start(make_config(f"sqlite:///{store}"), run_id=missing)
    tracker.finish("FINISHED")
    assert run_id != missing
    assert missing in caplog.text


def test_values_longer_than_mlflow_takes_are_cut(store: Path) -> None:
    uri = f"sqlite:///{store}"
    tracker, run_id = start(make_config(uri, data={"path": "p" * 7000}))
    tracker.finish("FINISHED")
    assert MlflowClient(uri).get_run(run_id).data.params["data.path"] == "p" * 6000


def test_training_goes_on_while_the_store_is_away_and_nothing_is_lost(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[object] = []

    def refuse(*arguments: object, **options: object) -> None:
        attempts.append(options)
        raise MlflowException("http://user:word@host\nrefused")

    uri = f"sqlite:///{store}"
    tracker, run_id = start(make_config(uri))
    with monkeypatch.context() as outage:
        for name in ("log_batch", "log_artifact"):
            outage.setattr(MlflowClient, name, refuse)
        for step in range(3):
            tracker.log_metrics({"train/loss": float(step)}, step)
        assert len(attempts) == 1  # the store is not asked again at once, which would slow training down
        tracker.log_artifact(tmp_path / "missing.png")
    tracker.log_metrics({"train/loss": 3.0}, 3)
    tracker.finish("FINISHED")
    history = MlflowClient(uri).get_metric_history(run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    (warning,) = caplog.messages
    assert warning.endswith("http://REDACTED@host refused")


def test_a_store_that_never_comes_back_is_reported_at_the_end(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise ConnectionError

    tracker, _ = start(make_config(f"sqlite:///{store}"))
    monkeypatch.setattr(MlflowClient, "log_batch", refuse)
    monkeypatch.setattr(MlflowClient, "set_terminated", refuse)
    tracker.log_metrics({"a": 1.0, "b": 2.0}, 0)
    tracker.finish("FAILED")
    assert len(caplog.messages) == 2
    assert "ConnectionError" in caplog.messages[0]
    assert caplog.messages[1] == "2 metric values never reached MLflow"


@pytest.mark.parametrize(
    ("tracking", "message"),
    [
        ({"uri": "mlruns"}, "tracking.uri='mlruns' is no tracking store"),
        ({"uri": "ftp://user:word@host"}, "tracking.uri='ftp://REDACTED@host' is no tracking store"),
        ({"uri": "sqlite://"}, "names no file"),
        (
            {"uri": "http://user:word@127.0.0.1:9"},
            "tracking.uri='http://REDACTED@127.0.0.1:9' cannot be used",
        ),
        ({"uri": "mysql+nodriver://user:word@host/db"}, "cannot be used"),
        ({"uri": "sqlite:///{tmp_path}/text.db"}, "file is not a database"),
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
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    (tmp_path / "text.db").write_text("this is a text that is longer than the header of a database" * 20)
    tracking = {key: value.replace("{tmp_path}", str(tmp_path)) for key, value in tracking.items()}
    started = time.monotonic()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        start(build_config({"tracking": tracking}))
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_deleted_experiment_is_not_written_to(store: Path) -> None:
    uri = f"sqlite:///{store}"
    client = MlflowClient(uri)
    client.delete_experiment(client.create_experiment("gone"))
    with pytest.raises(UserError, match="was deleted; restore it"):
        start(build_config({"tracking": {"uri": uri, "experiment": "gone"}}))


def test_nothing_is_registered_without_a_name(store: Path, tmp_path: Path) -> None:
    tracker, _ = start(make_config(f"sqlite:///{store}"))
    assert tracker.register(tmp_path / "model.safetensors") is None
    tracker.finish("FINISHED")


def test_params_are_dotted_keys_with_values_as_json() -> None:
    content = {"camera": {"yaw": [-1.5, 2.0]}, "seed": 1, "output": "text"}
    flat = {key: param_value(value) for key, value in build_config(content).to_flat().items()}
    expected = {
        "seed": "1",
        "camera.yaw": "[-1.5, 2.0]",
        "train.max_steps": "null",
        "output": "text",
        "noise.enabled": "true",
    }
    assert {key: flat[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("validation/masked/mpjpe_mm", "validation/masked/mpjpe_mm"), ("R@1", "R_1")]
)
def test_metric_names_are_what_mlflow_takes(name: str, expected: str) -> None:
    assert metric_name(name) == expected
