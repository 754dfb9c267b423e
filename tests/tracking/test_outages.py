"""Runs against real servers that go away, come back, or refuse: on SQLite and on PostgreSQL."""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from langpose_dist.cli.main import main
from langpose_dist.config import UserError
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.record import read_state
from langpose_dist.tracking.tracker import MLflowTracker
from tests.tracking.recording import history, make_config, start
from tests.tracking.servers import TrackingServer, missing_postgresql

PASSWORD = "a long pass-word of 1 test"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TrackingServer]:
    if request.param == "postgresql" and (reason := missing_postgresql()):
        pytest.skip(reason)
    with TrackingServer(tmp_path_factory.mktemp(request.param), request.param) as server:
        server.add_user("writer", PASSWORD, "EDIT")
        server.add_user("reader", PASSWORD, "READ")
        yield server


ALSO_ON_POSTGRESQL = pytest.mark.parametrize(
    "server", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(autouse=True)
def login(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    if server.process is None:  # a test before this one failed in an outage
        server.start()
    log_in(server, monkeypatch)


def log_in(
    server: TrackingServer, monkeypatch: pytest.MonkeyPatch, name: str = "writer", password: str = PASSWORD
) -> None:
    for key, value in server.login(name, password).items():
        monkeypatch.setenv(key, value)


def outage(server: TrackingServer, tracker: MLflowTracker, run_dir: Path) -> None:
    """The server dies, and the run notices."""
    server.kill()
    tracker.log_metrics({"in/outage": 0.0}, 0)
    deadline = time.monotonic() + 60
    while read_state(RunFolder(run_dir)).problem is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@ALSO_ON_POSTGRESQL
def test_an_outage_in_the_middle_of_a_run_loses_nothing(
    server: TrackingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = start(make_config(server.uri), tmp_path)
    for step in range(50):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step)
    outage(server, tracker, tmp_path)
    (tmp_path / "picture.png").write_bytes(b"p" * 1000)
    began = time.monotonic()
    for step in range(50, 1050):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step)
    tracker.log_artifact(tmp_path / "picture.png", "pictures")
    assert time.monotonic() - began < 60  # 1000 steps in an outage: nothing waits for the server
    assert read_state(RunFolder(tmp_path)).problem is not None
    server.start()
    for step in range(1050, 1100):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step)
    tracker.finish("FINISHED")
    client = MlflowClient(server.uri)
    run_id = tracker.record["run_id"]
    assert history(client, run_id, "loss") == [(step, 1 / (step + 1)) for step in range(1100)]
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id, "pictures")] == ["pictures/picture.png"]
    assert "the server does not answer" in caplog.text


@ALSO_ON_POSTGRESQL
def test_a_run_that_ends_in_an_outage_is_sent_by_replay(
    server: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = start(make_config(server.uri), tmp_path)
    outage(server, tracker, tmp_path)
    for step in range(10):
        tracker.log_metrics({"loss": float(step)}, step)
    tracker.finish("KILLED", "SIGTERM at step 9")
    assert main(["registry", "replay", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the server does not answer" in error
    assert "Traceback" not in error
    server.start()
    assert main(["registry", "replay", str(tmp_path)]) == 0
    run_id = read_state(RunFolder(tmp_path)).run_id
    assert run_id is not None
    assert run_id in capsys.readouterr().out
    client = MlflowClient(server.uri)
    run = client.get_run(run_id)
    assert run.info.status == "KILLED"
    assert json.loads(run.data.tags["attempt.1"])["reason"] == "SIGTERM at step 9"
    assert history(client, run_id, "loss") == [(step, float(step)) for step in range(10)]
    assert main(["registry", "replay", str(tmp_path), "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["sent"], report["run_id"], report["refused"]) == (0, run_id, 0)


@ALSO_ON_POSTGRESQL
def test_a_server_that_is_unavailable_at_the_start_gets_the_run_later(
    server: TrackingServer, tmp_path: Path
) -> None:
    server.kill()
    tracker = start(make_config(server.uri), tmp_path)
    tracker.log_metrics({"loss": 1.0}, 1)
    assert "run_id" not in tracker.record
    server.start()
    tracker.log_metrics({"loss": 2.0}, 2)
    tracker.finish("FINISHED")
    client = MlflowClient(server.uri)
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0), (2, 2.0)]


def test_runs_at_the_same_time_stay_apart(server: TrackingServer, tmp_path: Path) -> None:
    config = make_config(server.uri, tracking={"experiment": f"at once {server.port}"})
    run_ids: dict[int, str] = {}

    def record(number: int) -> None:
        tracker = start(config, tmp_path / str(number))
        for step in range(300):
            tracker.log_metrics({"loss": float(number * 1000 + step)}, step)
        tracker.finish("FINISHED")
        run_ids[number] = tracker.record["run_id"]

    threads = [threading.Thread(target=record, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = MlflowClient(server.uri)
    for number, run_id in run_ids.items():
        expected = [(step, float(number * 1000 + step)) for step in range(300)]
        assert history(client, run_id, "loss") == expected
    assert len(set(run_ids.values())) == 3


def test_a_wrong_password_is_refused_before_training_and_never_printed(
    server: TrackingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    log_in(server, monkeypatch, password="wrong-password-9999")
    with pytest.raises(UserError) as caught:
        start(make_config(server.uri), tmp_path)
    with_password = server.uri.replace("//", "//writer:wrong-password-9999@")
    with pytest.raises(UserError) as again:
        start(make_config(with_password), tmp_path)
    printed = "".join([str(caught.value), str(again.value), caplog.text, *capfd.readouterr()])
    assert "cannot be used" in printed
    assert "\n" not in str(caught.value)
    assert "wrong-password" not in printed


@pytest.mark.slow
@ALSO_ON_POSTGRESQL
def test_a_password_that_is_changed_under_a_run_stops_no_training(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add_user("changing", PASSWORD, "EDIT")
    log_in(server, monkeypatch, "changing")
    tracker = start(make_config(server.uri, tracking={"experiment": f"changing {server.port}"}), tmp_path)
    log_in(server, monkeypatch, "admin", server.admin_password)
    script = (
        "import sys; from mlflow.server import get_app_client; "
        "get_app_client('basic-auth', sys.argv[1]).update_user_password('changing', 'another long pass-word')"
    )
    subprocess.run([sys.executable, "-c", script, server.uri], check=True, capture_output=True)
    tracker.log_metrics({"loss": 1.0}, 1)
    deadline = time.monotonic() + 60
    while not read_state(RunFolder(tmp_path)).is_refused:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    tracker.finish("FINISHED")
    log_in(server, monkeypatch, "changing", "another long pass-word")
    assert main(["registry", "replay", str(tmp_path)]) == 0
    client = MlflowClient(server.uri)
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0)]
    assert client.get_run(tracker.record["run_id"]).info.status == "FINISHED"


def test_a_reader_may_not_write(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start(make_config(server.uri), tmp_path / "theirs")
    tracker.finish("FINISHED")
    log_in(server, monkeypatch, "reader")
    with pytest.raises(UserError, match="cannot be recorded"):
        start(make_config(server.uri), tmp_path / "mine")
    client = MlflowClient(server.uri)
    assert client.get_run(tracker.record["run_id"]).info.status == "FINISHED"  # but may read
    runs = client.search_runs([client.get_run(tracker.record["run_id"]).info.experiment_id])
    assert not any(run.info.run_name == "mine" for run in runs)


@ALSO_ON_POSTGRESQL
def test_no_record_or_log_holds_a_password(server: TrackingServer, tmp_path: Path) -> None:
    uri = server.uri.replace("//", f"//writer:{PASSWORD.replace(' ', '%20')}@")
    tracker = start(make_config(uri), tmp_path)
    outage(server, tracker, tmp_path)
    server.start()
    tracker.finish("FINISHED")
    for path in RunFolder(tmp_path).tracking.rglob("*.*"):
        assert not re.search(rb"long.*pass-word", path.read_bytes())
    assert not re.search(r"long.*pass-word", json.dumps(tracker.record))
