import contextlib
import json
from pathlib import Path

import pytest

from langpose_dist.config import UserError
from langpose_dist.runs.folder import RunFolder
from tests.disk import small_disk


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_a_status_is_replaced_whole(folder: RunFolder) -> None:
    assert (folder.read_status(), folder.read_reason()) == (None, "")
    folder.write_status("running", 3)
    folder.write_status("interrupted", 5, "SIGTERM")
    assert (folder.read_status(), folder.read_reason()) == ("interrupted", "SIGTERM")
    assert json.loads(folder.status.read_text()) == {
        "status": "interrupted",
        "step": 5,
        "reason": "SIGTERM",
        "exit_code": 75,
    }
    assert [path.name for path in folder.path.iterdir()] == ["status.json"]


def test_a_status_that_cannot_be_written_is_no_failure(folder: RunFolder) -> None:
    folder.status.mkdir()
    folder.write_status("failed", 0)
    assert [path.name for path in folder.path.iterdir()] == ["status.json"]


def test_a_record_without_tracking_keeps_the_one_before(folder: RunFolder) -> None:
    assert folder.read_record() == {}
    folder.write_record({"run_id": "abc"}, {"python": "3.11"})
    folder.write_record({}, {"python": "3.12"})
    assert folder.read_record() == {"run_id": "abc", "environment": {"python": "3.12"}}
    folder.record.write_text("[")
    assert folder.read_record() == {}


def test_a_folder_is_in_use_while_its_lock_is_held(folder: RunFolder) -> None:
    assert not folder.is_in_use()
    with folder.lock(0.0):
        assert RunFolder(folder.path).is_in_use()
    assert not folder.is_in_use()


def test_an_evaluation_that_is_none_is_one_line(folder: RunFolder) -> None:
    assert folder.read_evaluation() is None
    folder.evaluation.write_text('{"step": 3}')
    assert folder.read_evaluation() == {"step": 3}
    for text in ("{", "[]"):
        folder.evaluation.write_text(text)
        with pytest.raises(UserError, match=r"evaluation\.json (cannot be read|must hold a JSON object)"):
            folder.read_evaluation()


def test_the_last_words_need_no_space(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as place:
        folder = RunFolder(place)
        folder.write_status("running", 3)
        with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        for reason in ("no space left", "ä" * 100_000):
            folder.write_status("failed", 5, reason)
            content = json.loads(folder.status.read_text())
            assert (content["status"], content["step"], content["exit_code"]) == ("failed", 5, 1)
            assert content["reason"] == reason[:600]
        assert sorted(path.name for path in place.iterdir()) == ["filler", "status.json"]
