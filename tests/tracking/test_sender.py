import contextlib
import json
import logging
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from langpose_dist.config import UserError
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import RunInfo
from langpose_dist.tracking.mirror import LOST
from langpose_dist.tracking.record import RunRecord, read_state
from langpose_dist.tracking.tracker import MLflowTracker
from tests.tracking.recording import (
    history,
    make_config,
    recording_process,
    senders_of,
    start,
    wait_until,
)
from tests.tracking.registering import evaluation

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)


def test_training_continues_where_no_process_can_be_started(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = start(make_config(uri), tmp_path)
    with monkeypatch.context() as shortage:
        shortage.setattr("langpose_dist.tracking.sender._RESTART_INTERVAL_S", 0.0)
        shortage.setattr("langpose_dist.tracking.sender.subprocess.Popen", refuse_to_start)
        (sender,) = senders_of(tmp_path)
        sender.kill()
        (tmp_path / "file").write_text("")
        tracker.log_artifact(tmp_path / "file")
        tracker.log_metrics({"loss": 1.0}, 1)
    monkeypatch.setattr("langpose_dist.tracking.sender._RESTART_INTERVAL_S", 0.0)
    tracker.finish("FINISHED")
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0)]


def recorded(run_dir: Path) -> tuple[int, str | None]:
    """Number of values that the folder holds for its store, and how the attempt ended."""
    record = RunRecord.read(RunFolder(run_dir))
    assert record is not None
    return len(read_metrics(run_dir / "tracking/metrics.jsonl")), record.last.status


def refuse_to_start(*arguments: object, **options: object) -> None:
    raise OSError(12, "Cannot allocate memory")


def test_a_request_to_stop_cuts_the_waiting_short(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tracker = MLflowTracker(make_config(f"http://127.0.0.1:{server.getsockname()[1]}").tracking)
        config = make_config("sqlite:///x.db")
        tracker.start(
            RunInfo(
                config=config,
                run_dir=tmp_path,
                dataset="",
                data_fingerprint="",
                environment={},
                packages="",
                is_stopping=lambda: True,
            )
        )
        began = time.monotonic()
        tracker.finish("FINISHED")
        assert time.monotonic() - began < 60


def test_a_killed_process_loses_nothing_and_its_run_is_closed(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        process.kill()
    wait_until(lambda: not senders_of(tmp_path))
    run_id = read_state(RunFolder(tmp_path)).run_id
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
        sender.wait(60)
    run_id = read_state(RunFolder(tmp_path)).run_id
    assert run_id is not None
    assert client.get_run(run_id).info.status == "FAILED"


def test_a_killed_sender_is_replaced(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langpose_dist.tracking.sender._RESTART_INTERVAL_S", 0.0)
    tracker = start(make_config(uri), tmp_path)
    tracker.log_metrics({"loss": 1.0}, 1)
    (sender,) = senders_of(tmp_path)
    sender.kill()
    tracker.log_metrics({"loss": 2.0}, 2)
    tracker.finish("FINISHED")
    assert history(client, tracker.record["run_id"], "loss") == [(1, 1.0), (2, 2.0)]


@pytest.mark.slow
def test_a_server_that_is_unavailable_at_the_start_is_no_reason_not_to_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "http://user:word@127.0.0.1:9"
    with caplog.at_level(logging.WARNING):
        tracker = start(make_config(uri), tmp_path)
        tracker.log_metrics({"loss": 1.0}, 1)
        started = time.monotonic()
        tracker.finish("KILLED")
    assert time.monotonic() - started < 60
    assert "run_id" not in tracker.record
    assert "sent when the store is back" in caplog.messages[0]
    assert f"langpose registry replay {tmp_path}" in caplog.messages[-1]
    assert "word" not in caplog.text
    assert recorded(tmp_path) == (1, "KILLED")


def test_a_server_that_hangs_holds_nothing_up_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the start alone, to save the test's time.
    monkeypatch.setattr("langpose_dist.tracking.tracker._CHECK_TIMEOUT_S", "3")
    monkeypatch.setattr("langpose_dist.tracking.tracker._OPENING_TIMEOUT_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        began = time.monotonic()
        tracker = start(make_config(f"http://127.0.0.1:{server.getsockname()[1]}"), tmp_path)
        assert time.monotonic() - began < 60
        began = time.monotonic()
        for step in range(100):
            tracker.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - began < 30
        began = time.monotonic()
        tracker.finish("KILLED")
        assert time.monotonic() - began < 60
        wait_until(lambda: not senders_of(tmp_path))
    assert recorded(tmp_path) == (100, "KILLED")


@pytest.mark.parametrize(
    "status", [404, *(pytest.param(status, marks=pytest.mark.slow) for status in (500, 503))]
)
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
                assert recorded(tmp_path) == (1, "KILLED")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
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


def test_a_new_run_in_the_folder_of_a_killed_one_closes_that(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    with recording_process(uri, tmp_path) as process:
        (sender,) = psutil.Process(process.pid).children()
        sender.kill()
        process.kill()
    first = read_state(RunFolder(tmp_path)).run_id
    assert first is not None
    assert client.get_run(first).info.status == "RUNNING"
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("FINISHED")
    assert tracker.record["run_id"] != first
    assert client.get_run(first).info.status == "FAILED"
    assert client.get_run(tracker.record["run_id"]).info.status == "FINISHED"
