import contextlib
import json
import os
from pathlib import Path

import pytest

from langpose_dist.tracking.journal import (
    FOLDER,
    Journal,
    State,
    read_journal,
    read_state,
    state_for,
    write_state,
)


def steps(run_dir: Path, start: int = 0) -> list[int]:
    return [record.content["step"] for record in read_journal(run_dir, start)]


def test_records_come_back_in_order_from_any_offset(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in range(3):
        journal.append("metrics", step=step, time=0, values={"loss": 0.1 + 0.2, "bad": float("nan")})
    records = list(read_journal(tmp_path))
    assert [record.content["step"] for record in records] == [0, 1, 2]
    assert records[0].content["values"]["loss"] == 0.1 + 0.2
    assert records[-1].end == journal.size
    assert steps(tmp_path, records[0].end) == [1, 2]
    assert steps(tmp_path, journal.size) == []


def test_a_record_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in range(3):
        journal.append("metrics", step=step, time=0, values={})
    ends = [record.end for record in read_journal(tmp_path)]
    whole = journal.path.read_bytes()
    for cut in range(ends[1] + 1, ends[2] - 1):
        journal.path.write_bytes(whole[:cut])
        assert steps(tmp_path) == [0, 1]  # its end may still come
        Journal(tmp_path).append("metrics", step=9, time=0, values={})
        assert steps(tmp_path) == [0, 1, 9]
        assert steps(tmp_path, ends[1]) == [9]


def test_what_a_full_disk_refuses_is_written_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(small_disk)
    journal.append("metrics", step=0, time=0, values={})
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(os.urandom(4096))
    for step in range(1, 400):
        journal.append("metrics", step=step, time=0, values={})
    assert len(steps(small_disk)) < 400
    assert len(caplog.messages) == 1
    assert "kept in memory" in caplog.text
    assert journal.num_unwritten > 0
    filler.unlink()
    journal.append("metrics", step=400, time=0, values={})
    assert steps(small_disk) == list(range(401))


@pytest.mark.parametrize(
    "line",
    ["{", "null", "[]", '"metrics"', '{"kind":"metrics"}', '{"kind":[]}', '{"kind":"other"}', "[" * 9999],
)
def test_a_damaged_line_costs_only_itself(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path)
    journal.append("metrics", step=0, time=0, values={})
    with journal.path.open("a") as file:
        file.write(line + "\n")
    journal.append("metrics", step=1, time=0, values={})
    assert steps(tmp_path) == [0, 1]


def test_a_journal_that_lost_its_end_is_sent_from_its_start(tmp_path: Path) -> None:
    Journal(tmp_path).append("metrics", step=0, time=0, values={})
    write_state(tmp_path, State(), sent=10_000, tracking_uri="here", run_id="abc")
    assert state_for(tmp_path, "here") == State(sent=0, tracking_uri="here", run_id="abc")
    assert state_for(tmp_path, "there") == State(tracking_uri="there")


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert steps(tmp_path) == []
    assert Journal(tmp_path).size == 0


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
        '{"sent": 3, "later_key": 1}',
    ],
)
def test_a_state_that_cannot_be_used_means_from_the_start(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / FOLDER).mkdir()
        (tmp_path / FOLDER / "state.json").write_text(content)
    assert read_state(tmp_path) == State(sent=3 if content and "3" in content else 0)


def test_a_state_is_kept(tmp_path: Path) -> None:
    state = write_state(tmp_path, State(), sent=7, run_id="abc")
    assert read_state(tmp_path) == state == State(sent=7, run_id="abc")
    assert json.loads((tmp_path / FOLDER / "state.json").read_text())["run_id"] == "abc"
