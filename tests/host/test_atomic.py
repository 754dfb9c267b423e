import hashlib
from pathlib import Path

import pytest

from langpose_dist.host.atomic import PARTIAL, fsync_path, hash_file, write_bytes, write_text


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")
    write_text(path, "größer", durable=durable)
    assert path.read_bytes() == "größer".encode()
    write_bytes(path, b"\x00\xff", durable=durable)
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("old")
    (tmp_path / f"notes.txt{PARTIAL}").mkdir()  # where the new content cannot be written
    with pytest.raises(OSError, match="notes"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc" * 100_000)
    assert hash_file(tmp_path / "data") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_files_and_folders_can_be_pushed_to_disk(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    fsync_path(tmp_path / "data")
    fsync_path(tmp_path)
    with pytest.raises(FileNotFoundError):
        fsync_path(tmp_path / "missing")
