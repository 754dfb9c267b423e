"""Sweeps as MLflow sees them: trials under their parent, ended as their sweep says, whatever came between."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from langpose_dist.cli.main import main
from langpose_dist.config import RunConfig, UserError
from langpose_dist.models.langpose import LangPose
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.mirror import replay
from langpose_dist.tracking.record import MirrorState, RunRecord, read_state, sender_lock
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.tracker import MLflowTracker
from langpose_dist.tracking.trials import Settler, recorded_runs, register_trial
from tests.exports import save_weights
from tests.tracking.recording import (
    history,
    make_config,
    recording_process,
    senders_of,
    start,
    wait_until,
)
from tests.tracking.registering import evaluation, tiny_config
from tests.tracking.servers import TrackingServer

# MLflow's tables use a loading strategy that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)
TAGS = {"sweep.trial_id": "3fa1b_00002", "sweep.stage": "search"}
STOPPED = {"sweep.status": "stopped", "sweep.rung": "250"}
PARENT = "mlflow.parentRunId"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    with TrackingServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def remote(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> TrackingServer:
    """The server, running, with this test's user logged in; ends do not wait long for it."""
    if server.process is None:  # a test before this one failed in an outage
        server.start()
    for key, value in server.login().items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("langpose_dist.tracking.tracker._UNAVAILABLE_TIMEOUT_S", 0.5)
    return server


def start_sweep(uri: str, folder: Path) -> MLflowTracker:
    """The tracker of a sweep, which has a folder of trials."""
    (folder / "trials").mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    return start(make_config(uri), folder, tags={"langpose.kind": "sweep"}, source="tuning.sweep")


def trial_config(uri: str, parent: MLflowTracker) -> RunConfig:
    return make_config(uri, tracking={"parent_run_id": parent.record["run_uid"]})


def record_trial(uri: str, run_dir: Path, parent: MLflowTracker, value: float = 1.0) -> None:
    """A trial from start to end."""
    tracker = start(trial_config(uri, parent), run_dir, tags=TAGS)
    tracker.log_metrics({"loss": value}, 1)
    tracker.finish("FINISHED")


def run_of(client: MlflowClient, run_dir: Path) -> Run:
    """The one run that the folder's uid has in a store."""
    uid = record_of(run_dir).uid
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`langpose.run_uid` = '{uid}'")
    return run


def record_of(run_dir: Path) -> RunRecord:
    record = RunRecord.read(RunFolder(run_dir))
    assert record is not None
    return record


def end_of(run_dir: Path) -> tuple[str | None, str, str | None]:
    """How the folder says that the run ended: status, reason, and how the sweep saw it."""
    record = record_of(run_dir)
    return record.last.status, record.last.reason, record.tags.get("sweep.status")


def settle(run_dir: Path, *, uri: str, **end: Any) -> MirrorState:
    """Record how a trial ended, and send it."""
    settler = Settler(uri)
    settler.submit(run_dir, **end)
    settler.close(60.0)
    return read_state(RunFolder(run_dir))


def end_as(status: str, reason: str = "", **changes: Any) -> dict[str, Any]:
    return {"status": status, "reason": reason, "tags": STOPPED, "parent": None, **changes}


def test_trials_lie_under_their_sweep(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langpose_dist.tracking.mirror.ORPHAN_TIMEOUT_S", 0.0)
    config = make_config(uri)
    parent = start(
        config,
        tmp_path,
        tags={"langpose.kind": "sweep", "config_hash": "not theirs to say"},
        texts={"sweep.yaml": "tracking: {uri: http://user:word@host}"},
        source="tuning.sweep",
    )
    record_trial(uri, tmp_path / "trials/one", parent)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/table.md").write_text("a table")
    parent.log_artifact(tmp_path / "report", "report")
    parent.log_metrics({"best/masked/mpjpe_mm": 91.0}, 1)
    with RunFolder(tmp_path).lock(0.0), pytest.raises(UserError, match="running"):
        replay(client, tmp_path)
    parent.finish("FINISHED")
    run = run_of(client, tmp_path)
    assert (run.info.status, run.data.tags["langpose.kind"]) == ("FINISHED", "sweep")
    assert run.data.tags["mlflow.source.name"] == "tuning.sweep"
    assert run.data.tags["config_hash"] == config.hash()
    assert history(client, run.info.run_id, "best/masked/mpjpe_mm") == [(1, 91.0)]
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names == {"config.yaml", "constraints.txt", "environment.json", "report", "sweep.yaml"}
    text = Path(client.download_artifacts(run.info.run_id, "sweep.yaml", str(tmp_path))).read_text()
    assert text == "tracking: {uri: http://REDACTED@host}"
    trial = run_of(client, tmp_path / "trials/one")
    assert trial.data.tags.items() >= {**TAGS, PARENT: run.info.run_id}.items()
    assert trial.data.tags["mlflow.source.name"] == "langpose train"
    assert (tmp_path / "trials/one/tracking/sender.log").read_text() == ""


def test_a_trial_that_comes_before_its_sweep_is_put_under_it_while_it_trains(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    parent = start_sweep(f"sqlite:///{tmp_path}/elsewhere.db", tmp_path / "sweep")
    parent.finish("FINISHED")
    trial = start(trial_config(uri, parent), tmp_path / "trial")
    tags = run_of(client, tmp_path / "trial").data.tags
    assert tags["langpose.parent_run"] == parent.record["run_uid"]
    assert PARENT not in tags
    assert read_state(RunFolder(tmp_path / "trial")).unlinked == parent.record["run_uid"]
    _, state = replay(client, tmp_path / "sweep")
    wait_until(lambda: read_state(RunFolder(tmp_path / "trial")).unlinked is None)
    assert run_of(client, tmp_path / "trial").data.tags[PARENT] == state.run_id
    trial.finish("FINISHED")


def test_a_trial_is_put_under_its_sweep_although_the_store_failed_in_between(
    uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = start_sweep(f"sqlite:///{tmp_path}/elsewhere.db", tmp_path / "sweep")
    parent.finish("FINISHED")
    record_trial(uri, tmp_path / "trial", parent)
    wait_until(lambda: not senders_of(tmp_path / "trial"))
    _, state = replay(client, tmp_path / "sweep")

    def fail(*_: object) -> None:
        raise ConnectionError("the server is away")

    with monkeypatch.context() as outage:
        outage.setattr("langpose_dist.tracking.mirror.log_tags", fail)
        with pytest.raises(UserError, match="the server is away"):
            replay(client, tmp_path / "trial")
    replay(client, tmp_path / "trial")
    assert run_of(client, tmp_path / "trial").data.tags[PARENT] == state.run_id


@pytest.mark.parametrize("name", ["f" * 32, "' OR 1=1", "a/b", "x" * 300])
def test_a_sweep_that_is_nowhere_holds_no_trial_up(
    uri: str, client: MlflowClient, tmp_path: Path, name: str
) -> None:
    tracker = start(make_config(uri, tracking={"parent_run_id": name}), tmp_path)
    tracker.finish("FINISHED")
    run = run_of(client, tmp_path)
    assert (run.info.status, run.data.tags["langpose.parent_run"]) == ("FINISHED", name)
    assert PARENT not in run.data.tags
    settle(tmp_path, **end_as("FINISHED", parent=name), uri=uri)
    assert run_of(client, tmp_path).data.tags["sweep.status"] == "stopped"


@pytest.mark.slow
def test_a_sweep_in_an_outage_is_sent_whole_afterwards(
    remote: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.kill()
    sweep = tmp_path / "sweep"
    parent = start_sweep(remote.uri, sweep)
    for number in range(2):
        record_trial(remote.uri, sweep / f"trials/{number}", parent, float(number))
    (sweep / "trials/2").mkdir()  # it never came to start
    parent.finish("FINISHED")
    wait_until(lambda: not senders_of(sweep))
    assert main(["registry", "replay", str(sweep)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    remote.start()
    client = MlflowClient(remote.uri)
    # A trial alone first: it is not held up, and put under its sweep when that is there.
    assert main(["registry", "replay", str(sweep / "trials/1")]) == 0
    assert PARENT not in run_of(client, sweep / "trials/1").data.tags
    capsys.readouterr()
    assert main(["registry", "replay", str(sweep), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["run_dir"] for report in reports] == [
        str(sweep),
        str(sweep / "trials/0"),
        str(sweep / "trials/1"),
    ]
    assert [report["sent"] for report in reports] == [3, 4, 0]  # three texts, one value
    parent_id = run_of(client, sweep).info.run_id
    for number in range(2):
        run = run_of(client, sweep / f"trials/{number}")
        assert run.data.tags.items() >= {**TAGS, PARENT: parent_id}.items()
        assert history(client, run.info.run_id, "loss") == [(1, float(number))]
        assert run.info.status == "FINISHED"


def test_replay_tells_which_trials_were_not_sent(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = start_sweep(uri, tmp_path)
    for name in ("one", "two"):
        record_trial(uri, tmp_path / f"trials/{name}", parent)
    parent.finish("FINISHED")
    for run_dir in recorded_runs(tmp_path):
        wait_until(lambda run_dir=run_dir: not senders_of(run_dir))
        (run_dir / "tracking/state.json").unlink()
    monkeypatch.setattr("langpose_dist.tracking.mirror.ORPHAN_TIMEOUT_S", 0.0)
    with sender_lock(RunFolder(tmp_path / "trials/one")):
        assert main(["registry", "replay", str(tmp_path), "--tracking-uri", uri]) == 2
    out, err = capsys.readouterr()
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        str(tmp_path),
        str(tmp_path / "trials/two"),
    ]
    first, second = err.splitlines()
    assert first.startswith(f"{tmp_path}/trials/one: its training is running")
    assert second.endswith("1 of 3 runs were not sent; see above")


@pytest.mark.parametrize("sender", ["lives", "has ended", "was killed"])
@pytest.mark.parametrize("status", ["FINISHED", pytest.param("KILLED", marks=pytest.mark.slow)])
def test_a_killed_trial_ends_as_its_sweep_says_once(
    uri: str, client: MlflowClient, tmp_path: Path, sender: str, status: str
) -> None:
    parent = client.create_run("0").info.run_id
    run_dir = tmp_path / "trial"
    with recording_process(uri, run_dir) as process:
        if sender == "was killed":  # with all below the trial's process
            (sending,) = senders_of(run_dir)
            sending.kill()
        process.kill()
    if sender == "has ended":
        wait_until(lambda: not senders_of(run_dir))
        assert run_of(client, run_dir).info.status == "FAILED"
    began = time.monotonic()
    state = settle(run_dir, **end_as(status, "rung 250", parent=parent), uri=uri)
    assert time.monotonic() - began < 60
    assert (state.problem, state.unlinked) == (None, None)
    wait_until(lambda: not senders_of(run_dir))
    run = run_of(client, run_dir)
    assert run.info.status == status
    assert run.data.tags.items() >= {**STOPPED, PARENT: parent}.items()
    attempt = json.loads(run.data.tags["attempt.1"])
    assert (attempt["status"], attempt["reason"]) == (status, "rung 250")
    assert len(history(client, run.info.run_id, "loss")) == 100
    last = max(value.timestamp for value in client.get_metric_history(run.info.run_id, "loss"))
    assert run.info.end_time == last
    before = record_of(run_dir)
    again = settle(run_dir, **end_as(status, "rung 250", parent=parent), uri=uri)
    assert again == state
    assert record_of(run_dir) == before
    after = run_of(client, run_dir)
    assert (after.info.end_time, after.data.tags) == (run.info.end_time, run.data.tags)


def test_a_trial_that_said_how_it_ended_is_corrected_only_where_that_is_wrong(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("KILLED", "SIGTERM at step 9")
    end = run_of(client, tmp_path).info.end_time
    settle(tmp_path, **end_as("KILLED", "interrupted"), uri=uri)
    assert end_of(tmp_path) == ("KILLED", "SIGTERM at step 9", "stopped")
    assert json.loads(run_of(client, tmp_path).data.tags["attempt.1"])["reason"] == "SIGTERM at step 9"
    settle(tmp_path, **end_as("FINISHED", "stopped at rung 250"), uri=uri)
    assert end_of(tmp_path) == ("FINISHED", "stopped at rung 250", "stopped")
    run = run_of(client, tmp_path)
    assert (run.info.status, run.info.end_time) == ("FINISHED", end)
    assert json.loads(run.data.tags["attempt.1"])["reason"] == "stopped at rung 250"
    settle(tmp_path, **end_as("FINISHED", tags={**STOPPED, "sweep.rung": "750"}), uri=uri)
    assert run_of(client, tmp_path).data.tags["sweep.rung"] == "750"


def test_a_settled_trial_that_is_resumed_is_one_run(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    run_dir = tmp_path / "trial"
    with recording_process(uri, run_dir) as process:
        process.kill()
    settle(run_dir, **end_as("FAILED", "killed", tags={"sweep.status": "failed"}), uri=uri)
    assert run_of(client, run_dir).info.status == "FAILED"
    tracker = start(make_config(uri), run_dir, resumed=True, step=50, tags={"sweep.status": "running"})
    run = run_of(client, run_dir)
    assert (run.info.status, run.data.tags["sweep.status"]) == ("RUNNING", "running")
    tracker.log_metrics({"loss": 100.0}, 100)
    tracker.finish("FINISHED")
    settle(run_dir, **end_as("FINISHED", tags={"sweep.status": "finished"}), uri=uri)
    run = run_of(client, run_dir)
    assert (run.info.status, run.data.tags["sweep.status"]) == ("FINISHED", "finished")
    attempts = [json.loads(run.data.tags[f"attempt.{number}"]) for number in (1, 2)]
    assert [(attempt["status"], attempt["reason"]) for attempt in attempts] == [
        ("FAILED", "killed"),
        ("FINISHED", ""),
    ]
    assert len(history(client, run.info.run_id, "loss")) == 101


def test_a_trial_without_a_record_is_no_trial(uri: str, tmp_path: Path) -> None:
    settler = Settler(uri)
    for run_dir in (tmp_path, tmp_path / "none"):
        settler.submit(run_dir, **end_as("FAILED"))
    assert settler.close(30.0) == []
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_still_runs_has_not_ended(
    uri: str,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with recording_process(uri, tmp_path) as process:
        process.kill()
    settler = Settler(uri)
    with RunFolder(tmp_path).lock(0.0):
        settler.submit(tmp_path, **end_as("FINISHED"))
        time.sleep(1)
        assert end_of(tmp_path) == (None, "", None)
    wait_until(lambda: end_of(tmp_path) == ("FINISHED", "", "stopped"))
    assert settler.close(30.0) == []
    assert run_of(client, tmp_path).info.status == "FINISHED"
    monkeypatch.setattr("langpose_dist.tracking.trials._ENDING_TIMEOUT_S", 0.0)
    settler = Settler(uri)
    with RunFolder(tmp_path).lock(0.0):
        settler.submit(tmp_path, **end_as("KILLED"))
        wait_until(lambda: "its training is still running" in caplog.text)
    assert settler.close(30.0) == []
    assert end_of(tmp_path) == ("FINISHED", "", "stopped")


@pytest.mark.slow
def test_ends_of_an_outage_arrive_when_the_store_is_back(
    remote: TrackingServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(remote.uri)
    parent = start_sweep(remote.uri, tmp_path)
    trials = [tmp_path / f"trials/{number}" for number in range(3)]
    trackers = [start(trial_config(remote.uri, parent), run_dir, tags=TAGS) for run_dir in trials]
    remote.kill()
    for tracker in trackers:
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.finish("KILLED", "told to end")
    settler = Settler(remote.uri)
    began = time.monotonic()
    for run_dir in trials[:2]:
        settler.submit(run_dir, **end_as("FINISHED", "rung 250", parent=parent.record["run_uid"]))
    assert time.monotonic() - began < 30
    assert settle(trials[2], **end_as("FINISHED", "rung 250"), uri=remote.uri).problem is not None
    began = time.monotonic()
    abandoned = Settler(remote.uri)
    abandoned.submit(trials[2], **end_as("FINISHED", "rung 250"))
    assert abandoned.close(60.0) == [trials[2]]
    assert time.monotonic() - began < 30
    remote.start()
    assert settler.close(60.0) == []
    for run_dir in trials[:2]:
        run = run_of(client, run_dir)
        assert (run.info.status, run.data.tags["sweep.rung"]) == ("FINISHED", "250")
        assert history(client, run.info.run_id, "loss") == [(1, 1.0)]
    parent.finish("FINISHED")
    assert main(["registry", "replay", str(tmp_path)]) == 0
    *others, last = [line.partition(" values")[0] for line in capsys.readouterr().out.splitlines()]
    assert others == [f"{tmp_path}: 0", f"{trials[0]}: 0", f"{trials[1]}: 0"]
    assert last.startswith(f"{trials[2]}: ")
    assert not last.endswith(" 0")
    run = run_of(client, trials[2])
    assert (run.info.status, run.data.tags["sweep.rung"]) == ("FINISHED", "250")
    assert run.data.tags[PARENT] == run_of(client, tmp_path).info.run_id


def test_a_store_that_refuses_holds_no_sweep_up(tmp_path: Path, uri: str) -> None:
    tracker = start(make_config(uri), tmp_path / "trial")
    tracker.finish("FINISHED")
    (tmp_path / "text.db").write_text("this is a text that is longer than the header of a database" * 20)
    broken = f"sqlite:///{tmp_path}/text.db"
    settler = Settler(broken)
    settler.submit(tmp_path / "trial", **end_as("FINISHED"))
    assert settler.close(30.0) == [tmp_path / "trial"]
    assert read_state(RunFolder(tmp_path / "trial")).is_refused
    with pytest.raises(UserError, match="is no tracking store"):
        Settler("ftp://host")


def test_a_store_that_hangs_holds_no_sweep_up(tmp_path: Path, uri: str) -> None:
    tracker = start(make_config(uri), tmp_path)
    tracker.finish("FINISHED")
    wait_until(lambda: not senders_of(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        began = time.monotonic()
        settler = Settler(f"http://127.0.0.1:{hanging.getsockname()[1]}")
        settler.submit(tmp_path, **end_as("KILLED", "rung 250"))
        assert settler.close(2.0) == [tmp_path]
        assert time.monotonic() - began < 60
    assert end_of(tmp_path) == ("KILLED", "rung 250", "stopped")


def finished_trial(uri: str, run_dir: Path, parent: MLflowTracker) -> None:
    """A trial with a model."""
    tracking = {"uri": uri, "experiment": "an experiment", "parent_run_id": parent.record["run_uid"]}
    config = tiny_config(tracking=tracking, data={"licence": "CC0"})
    tracker = start(config, run_dir, tags=TAGS, origin={"run_uid": "1" * 32})
    save_weights(run_dir / "model.safetensors", LangPose(config, text_dim=12), config, {})
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation()))
    tracker.finish("FINISHED")


def test_the_best_trial_s_model_leads_to_the_sweep(uri: str, client: MlflowClient, tmp_path: Path) -> None:
    parent = start_sweep(uri, tmp_path)
    run_dir = tmp_path / "trials/best"
    finished_trial(uri, run_dir, parent)
    settle(run_dir, **end_as("FINISHED"), uri=uri)
    for _ in range(2):
        assert register_trial(run_dir, name="swept", alias="candidate", uri=uri) == "swept/1"
    assert (record_of(run_dir).registration or {})["number"] == 1
    version = resolve(client, "swept@candidate")
    assert version.run_id == run_of(client, run_dir).info.run_id
    assert run_of(client, run_dir).info.status == "FINISHED"
    assert version.tags.items() >= {**TAGS, "sweep.rung": "250", "git_commit": "abc123"}.items()
    assert version.tags["parent_run_id"] == parent.record["run_id"]
    assert not any(name.startswith("mlflow.") for name in version.tags)
    assert (version.licence, version.parents) == ("CC0", ("1" * 32,))
    assert version.evaluation == evaluation()
    (model,) = run_of(client, run_dir).outputs.model_outputs  # pyright: ignore[reportOptionalMemberAccess]
    folder = unquote(client.get_logged_model(model.model_id).artifact_location.removeprefix("file://"))
    assert parent.record["run_id"] in (Path(folder) / "model_card.md").read_text()
    parent.finish("FINISHED")
    for place, name in ((run_dir, "a/b"), (tmp_path, "swept"), (tmp_path / "none", "swept")):
        with pytest.raises(UserError):
            register_trial(place, name=name, alias="candidate", uri=uri)


def test_a_model_is_registered_after_an_outage(
    remote: TrackingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent = start_sweep(remote.uri, tmp_path)
    run_dir = tmp_path / "trials/best"
    finished_trial(remote.uri, run_dir, parent)
    remote.kill()
    for _ in range(2):
        assert register_trial(run_dir, name="late", alias="candidate", uri=remote.uri) is None
    assert f"langpose registry replay {run_dir} does it" in caplog.text
    remote.start()
    parent.finish("FINISHED")
    assert main(["registry", "replay", str(tmp_path)]) == 0
    client = MlflowClient(remote.uri)
    assert resolve(client, "late@candidate").run_id == run_of(client, run_dir).info.run_id
    assert register_trial(run_dir, name="late", alias="candidate", uri=remote.uri) == "late/1"


def test_a_registration_that_was_refused_is_asked_for_again(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    parent = start_sweep(uri, tmp_path)
    run_dir = tmp_path / "trials/best"
    finished_trial(uri, run_dir, parent)
    whole = (run_dir / "model.safetensors").read_bytes()
    (run_dir / "model.safetensors").write_text("no weights")
    (run_dir / "evaluation.json").write_text('{"conditions": 5}')
    assert register_trial(run_dir, name="again", alias="candidate", uri=uri) is None
    (run_dir / "model.safetensors").write_bytes(whole)
    assert register_trial(run_dir, name="again", alias="candidate", uri=uri) is None
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation()))
    assert register_trial(run_dir, name="again", alias="candidate", uri=uri) == "again/1"
    parent.finish("FINISHED")


def test_an_end_is_sent_although_the_trial_ended_otherwise_while_another_was_settled(
    uri: str, client: MlflowClient, tmp_path: Path
) -> None:
    parent = start_sweep(uri, tmp_path)
    first, second = (tmp_path / "trials" / name for name in ("0", "1"))
    for run_dir in (first, second):
        record_trial(uri, run_dir, parent)
        wait_until(lambda run_dir=run_dir: run_of(client, run_dir).info.status == "FINISHED")
    settler = Settler(uri)
    end = end_as("KILLED", "the sweep was interrupted")
    with RunFolder(second).lock(0.0):
        with RunFolder(first).lock(0.0):
            settler.submit(first, **end)
            settler.submit(second, **end)
        wait_until(lambda: run_of(client, first).info.status == "KILLED")
        time.sleep(1.0)  # and all others are looked at
    assert settler.close(60.0) == []
    assert run_of(client, second).info.status == "KILLED"
    parent.finish("FINISHED")
