import json
from pathlib import Path

import pytest

from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import MetricsFile, follow_metrics
from langpose_dist.tracking.record import (
    Attempt,
    MirrorState,
    Position,
    RunRecord,
    last_heard,
    read_state,
    state_for,
    write_state,
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(
        uid="1" * 32,
        user="me",
        experiment="an experiment",
        run_name="a run",
        source="langpose train",
        params={"loss.gamma": "1.0"},
        attempts=[Attempt(started=5, about={"from_step": 0})],
        artifacts=[("curves.png", "pictures")],
    )


def test_a_record_is_kept(folder: RunFolder, record: RunRecord) -> None:
    assert RunRecord.read(folder) is None
    record.end("KILLED", "SIGTERM", 7)
    assert record.request_registration(name="a") == 1
    assert record.request_registration(name="a") == 2
    record.write(folder)
    assert RunRecord.read(folder) == record
    assert record.last == Attempt(5, {"from_step": 0}, "KILLED", "SIGTERM", 7)


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '"run"', "{}", '{"attempts": [], "artifacts": []}', "[" * 9999]
)
def test_a_damaged_record_is_none(folder: RunFolder, text: str) -> None:
    folder.tracking.mkdir()
    (folder.tracking / "record.json").write_text(text)
    assert RunRecord.read(folder) is None


def test_a_run_was_heard_of_last_when_it_logged_last(folder: RunFolder, record: RunRecord) -> None:
    assert last_heard(folder, record) == 5
    folder.metrics.write_text(
        '{"step": 1, "loss": 1.0, "time": 9}\n{"step": 2, "loss": 1.0, "time": 10}\n{"ste'
    )
    assert last_heard(folder, record) == 10
    record.end("FINISHED", "", 12)
    assert last_heard(folder, record) == 12


def test_a_file_that_grows_is_continued_and_a_rewritten_one_begun_again(folder: RunFolder) -> None:
    metrics = MetricsFile(folder.metrics)
    for step in (1, 2):
        metrics.append({"loss": 1.0}, step)
    *_, (_, end) = follow_metrics(folder.metrics, 0)
    position = Position.at(folder.metrics, end, end)
    metrics.append({"loss": 1.0}, 3)
    assert position.find(folder.metrics) == end
    assert [line["step"] for line, _ in follow_metrics(folder.metrics, end)] == [3]
    again = MetricsFile(folder.metrics, step=1)
    again.append({"loss": 2.0}, 2)
    again.append({"loss": 2.0}, 3)
    assert position.find(folder.metrics) == 0
    folder.metrics.unlink()
    assert position.find(folder.metrics) == 0


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{",
        "[]",
        '{"sent": "9"}',
        '{"run_id": 9}',
        '{"tracking_uri": 9}',
        '{"positions": 3}',
        '{"positions": {"metrics": 3}}',
        '{"sent": 3, "later_key": 1}',
    ],
)
def test_a_state_that_cannot_be_used_means_from_the_start(folder: RunFolder, content: str | None) -> None:
    if content is not None:
        folder.tracking.mkdir()
        (folder.tracking / "state.json").write_text(content)
    assert read_state(folder) == MirrorState(sent=3 if content and '"sent": 3' in content else 0)


def test_a_state_is_kept_for_its_store(folder: RunFolder) -> None:
    positions = {"metrics": Position(5, 7, "abc")}
    state = write_state(folder, MirrorState(), sent=7, run_id="abc", tracking_uri="here", positions=positions)
    assert read_state(folder) == state
    assert json.loads((folder.tracking / "state.json").read_text())["run_id"] == "abc"
    assert state_for(folder, "here") == state
    assert state_for(folder, "there") == MirrorState(tracking_uri="there")


def test_the_store_is_behind_a_record_or_a_file_that_has_changed(
    folder: RunFolder, record: RunRecord
) -> None:
    record.version = 3
    assert not MirrorState(version=2).is_current(folder, record)
    state = MirrorState(version=3)
    assert state.is_current(folder, record)
    MetricsFile(folder.metrics).append({"loss": 1.0}, 1)
    assert not state.is_current(folder, record)
    size = folder.metrics.stat().st_size
    state = MirrorState(version=3, positions={"metrics": Position(size, size, "")})
    assert state.is_current(folder, record)
