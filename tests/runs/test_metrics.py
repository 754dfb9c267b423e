import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from langpose_dist.runs.metrics import MetricsFile, read_metrics
from tests.disk import small_disk


def test_lines_beyond_the_step_are_forgotten_and_known_ones_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    for step in (1, 2, 3):
        first.append({"train/loss": 1.0 / step}, step)
    first.append({"validation/loss": 0.5}, 2)
    again = MetricsFile(path, step=2)
    again.append({"validation/loss": 0.5}, 2)
    again.append({"train/loss": 0.25}, 3)
    assert read_metrics(path) == [
        {"step": 1, "train/loss": 1.0},
        {"step": 2, "train/loss": 0.5},
        {"step": 2, "validation/loss": 0.5},
        {"step": 3, "train/loss": 0.25},
    ]


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train/loss": 2.0}\n{"step": 2, "trai', encoding="utf-8")
    assert read_metrics(path) == [{"step": 1, "train/loss": 2.0}]
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with small_disk(tmp_path / "disk", "256k") as place:
        yield place


def test_lines_wait_for_space_on_a_full_disk(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = disk / "metrics.jsonl"
    metrics = MetricsFile(path)
    metrics.append({"train/loss": 0.5}, 1)
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
    # Each line is half a page: the first still fits into the page that is there, others are cut off.
    lines = [{"step": step, f"train/{'x' * 2000}": step / 4} for step in range(2, 12)]
    for line in lines:
        metrics.append({name: value for name, value in line.items() if name != "step"}, int(line["step"]))
    told = capfd.readouterr().err
    assert told.count("metrics.jsonl cannot be written: No space left on device") == 1
    on_disk = read_metrics(path)
    assert on_disk == [{"step": 1, "train/loss": 0.5}, *lines][: len(on_disk)]
    assert len(on_disk) < 5
    (disk / "filler").unlink()
    metrics.append({"train/loss": 0.25}, 12)
    assert read_metrics(path) == [{"step": 1, "train/loss": 0.5}, *lines, {"step": 12, "train/loss": 0.25}]
    assert path.read_text(encoding="utf-8").count("\n") == 12
    assert capfd.readouterr().err == ""
