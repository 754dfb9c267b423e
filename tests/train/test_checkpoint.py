"""A checkpoint is there whole or not at all, and damage never goes unnoticed."""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from langpose_dist.config import UserError
from langpose_dist.train.checkpoint import (
    CheckpointWriter,
    Snapshot,
    TrainState,
    checkpoint_folders,
    find_checkpoint,
    prune,
    publish,
    read_optimizer,
    read_weights,
    saved_step,
    verify_checkpoint,
)
from tests.disk import small_disk


def snapshot(step: int, size: int = 1000) -> Snapshot:
    """Tensors whose values are those of the step, of about ``size`` times 4 bytes in all."""
    return Snapshot(
        weights={"a": torch.full((size // 4,), float(step)), "b": torch.full((2, 3), float(step))},
        optimizer={"a/exp_avg": torch.full((size // 4 * 3,), step + 0.5)},
    )


def write(folder: Path, *steps: int) -> None:
    writer = CheckpointWriter(folder, keep=99, step=99)
    for step in steps:
        writer.write(snapshot(step), TrainState(step=step), {"step": str(step)})
        assert writer.wait() is None


def found_step(folder: Path) -> int:
    """Of the checkpoint that is found, whose content must be that of its step; 0 if there is none."""
    warnings: list[str] = []
    found = find_checkpoint(folder, warn=warnings.append)
    assert warnings == []
    if found is None:
        return 0
    path, state = found
    assert path.name == f"step-{state.step:08d}"
    assert set(read_weights(path)["a"].tolist()) == {float(state.step)}
    assert set(read_optimizer(path)["a/exp_avg"].tolist()) == {state.step + 0.5}
    return state.step


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    state = TrainState(
        step=7,
        position=84,
        data_fingerprint="abc",
        run_id="run",
        evaluated_step=5,
        best_step=5,
        best_value=12.25,
        since_log=(0.1, 1 / 3),
        counts_since_log=(2, 24),
        steps_since_log=2,
        world_size=4,
        zero_stage=3,
    )
    written = snapshot(7)
    path = publish(tmp_path, written, state, {"key": "value"})
    assert [file.name for file in tmp_path.iterdir()] == ["step-00000007"]
    assert find_checkpoint(tmp_path) == (path, state)
    assert verify_checkpoint(path) == state
    for read, tensors in (
        (read_weights, written.weights),
        (read_optimizer, written.optimizer),
    ):
        again = read(path)
        assert again.keys() == tensors.keys()
        assert all(again[name].equal(tensors[name]) for name in tensors)
        assert all(again[name].dtype == tensors[name].dtype for name in tensors)


def test_there_is_nothing_to_find_before_the_first(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path / "checkpoints") is None
    assert find_checkpoint(tmp_path, strict=True) is None


def test_a_step_that_is_written_again_replaces_the_first(tmp_path: Path) -> None:
    write(tmp_path, 3, 3)
    assert found_step(tmp_path) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["latest", "step-00000003"]


def _write_and_die(folder: Path, event: int) -> None:
    """Writes step 2 and so prunes step 1, but is killed at the given event of the writing thread."""
    count = 0

    def strike(frame: FrameType, kind: str, argument: Any) -> None:
        nonlocal count
        count += 1
        if count == event:
            os.kill(os.getpid(), signal.SIGKILL)

    writer = CheckpointWriter(folder, keep=1, step=1)
    threading.setprofile(strike)
    writer.write(snapshot(2), TrainState(step=2, best_step=2), {})
    assert writer.wait() is None


@pytest.mark.dist
def test_a_kill_at_any_point_of_the_code_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    write(tmp_path / "whole", 1)
    outcomes = set()
    event, status = 1, -signal.SIGKILL
    while status == -signal.SIGKILL:
        folder = tmp_path / str(event)
        shutil.copytree(tmp_path / "whole", folder)
        process = start(_write_and_die, folder, event)
        process.join(30)
        status = process.exitcode
        outcomes.add((found_step(folder), len(checkpoint_folders(folder))))
        shutil.rmtree(folder)
        event += 43
    assert status == 0
    assert event > 200  # else it was no kill in the middle that ended the loop
    # Only the old, both, and only the new.
    assert outcomes == {(1, 1), (2, 2), (2, 1)}


def _write_for_ever(folder: Path, step: int) -> None:
    writer = CheckpointWriter(folder, keep=2, step=step)
    while True:
        step += 1
        writer.write(snapshot(step, size=12_500_000), TrainState(step=step), {})


@pytest.mark.dist
@pytest.mark.slow
def test_kills_while_a_large_one_is_written_leave_a_whole_checkpoint(tmp_path: Path) -> None:
    rng = random.Random(0)
    newest = 0
    for _ in range(10):
        process = start(_write_for_ever, tmp_path, newest)
        wanted = tmp_path / f"step-{newest + 1:08d}"
        deadline = time.monotonic() + 60
        while not wanted.exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.4)
        process.kill()
        process.join(10)
        before, newest = newest, found_step(tmp_path)
        assert newest > before


def damage(path: Path, how: str) -> None:
    match how.split():
        case "truncated", name:
            os.truncate(path / name, (path / name).stat().st_size - 1)
        case "flipped", name:
            content = bytearray((path / name).read_bytes())
            content[-1] ^= 1
            (path / name).write_bytes(content)
        case "missing", name:
            (path / name).unlink()
        case "emptied", name:
            (path / name).write_bytes(b"")
        case "changed", name:
            text = (path / name).read_text()
            assert '"position": 0' in text
            (path / name).write_text(text.replace('"position": 0', '"position": 1'))
        case "incomplete", name:
            content = json.loads((path / name).read_text())
            del content["files"]["model.safetensors"]
            rewrite(path / name, content)
        case "newer", name:
            rewrite(path / name, {**json.loads((path / name).read_text()), "format": 2})
        case "exchanged", _:
            shutil.rmtree(path)
            shutil.copytree(path.with_name("step-00000001"), path)
        case _:
            raise AssertionError(how)


def rewrite(path: Path, content: dict[str, Any]) -> None:
    """Write what another version might have written, with its own right hash."""
    del content["sha256"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "sha256": digest}))


DAMAGES = [
    ("truncated model.safetensors", r"model\.safetensors has \d+ bytes, not \d+"),
    ("truncated optimizer.safetensors", r"optimizer\.safetensors has \d+ bytes, not \d+"),
    ("flipped model.safetensors", r"model\.safetensors is damaged: its SHA-256 is another"),
    ("missing optimizer.safetensors", r"optimizer\.safetensors: No such file"),
    ("missing checkpoint.json", r"checkpoint\.json: No such file"),
    ("truncated checkpoint.json", r"checkpoint\.json is damaged"),
    ("emptied checkpoint.json", r"checkpoint\.json is damaged"),
    ("changed checkpoint.json", r"checkpoint\.json is damaged: its SHA-256 is another"),
    ("incomplete checkpoint.json", r"checkpoint\.json lists other files"),
    ("newer checkpoint.json", r"format 2, this version reads 1"),
    ("exchanged folder", r"it is of step 1"),
]


@pytest.mark.parametrize(("how", "reason"), DAMAGES, ids=[how for how, _ in DAMAGES])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning_or_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str, reason: str
) -> None:
    write(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003", how)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert (found[0].name, found[1].step) == ("step-00000002", 2)
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("langpose: WARNING: a checkpoint cannot be used, falling back to step-00000002")
    with pytest.raises(UserError, match=f"step-00000003: {reason}.*leave out --strict to fall back"):
        find_checkpoint(tmp_path, strict=True)
    # An older one that is damaged is not in the way.
    write(tmp_path, 4)
    assert found_step(tmp_path) == 4
    assert find_checkpoint(tmp_path, strict=True) is not None


def test_the_newest_that_is_gone_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    shutil.rmtree(tmp_path / "step-00000002")
    warnings: list[str] = []
    found = find_checkpoint(tmp_path, warn=warnings.append)
    assert found is not None
    assert found[1].step == 1
    assert len(warnings) == 1
    assert "step-00000002: the newest checkpoint is gone" in warnings[0]
    with pytest.raises(UserError, match="step-00000002: the newest checkpoint is gone"):
        find_checkpoint(tmp_path, strict=True)


def test_every_one_that_is_passed_over_is_told(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000002", "missing checkpoint.json")
    damage(tmp_path / "step-00000003", "flipped model.safetensors")
    warnings: list[str] = []
    found = find_checkpoint(tmp_path, warn=warnings.append)
    assert found is not None
    assert found[1].step == 1
    assert ["step-00000003:" in warnings[0], "step-00000002:" in warnings[1]] == [True, True]


@pytest.mark.parametrize("strict", [False, True])
def test_if_all_are_damaged_it_is_an_error_that_names_each(tmp_path: Path, strict: bool) -> None:
    write(tmp_path, 1, 2)
    damage(tmp_path / "step-00000001", "flipped optimizer.safetensors")
    damage(tmp_path / "step-00000002", "missing model.safetensors")
    with pytest.raises(UserError, match="no checkpoint to resume from") as caught:
        find_checkpoint(tmp_path, strict=strict)
    for words in ("step-00000001: optimizer.safetensors is damaged", "step-00000002: model.safetensors"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [4, 5]), (2, 1, [1, 4, 5]), (2, 5, [4, 5]), (1, 3, [3, 5]), (9, 1, [1, 2, 3, 4, 5])],
)
def test_the_newest_and_the_best_are_kept(
    tmp_path: Path, keep: int, best: int | None, left: list[int]
) -> None:
    write(tmp_path, 1, 2, 3, 4, 5)
    if best is not None:
        (tmp_path / "best").write_text(f"step-{best:08d}\n")
    prune(tmp_path, keep=keep)
    assert [verify_checkpoint(path).step for path in reversed(checkpoint_folders(tmp_path))] == left
    assert not list(tmp_path.glob(".unfinished-*"))


def test_the_writer_prunes_and_keeps_the_best(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, keep=2)

    def write_on(*steps: int, best: int) -> list[int]:
        for step in steps:
            writer.write(snapshot(step), TrainState(step=step, best_step=best), {})
        assert writer.wait() is None
        assert (tmp_path / "latest").read_text() == f"step-{steps[-1]:08d}\n"
        assert (tmp_path / "best").read_text() == f"step-{best:08d}\n"
        return [verify_checkpoint(path).step for path in checkpoint_folders(tmp_path)]

    assert write_on(1, best=1) == [1]
    assert write_on(2, 3, 4, best=1) == [4, 3, 1]
    writer.mark_best(4)  # the evaluation came after the checkpoint
    assert write_on(5, 6, 7, best=4) == [7, 6, 4]
    writer.mark_best(9)  # was not written
    assert write_on(8, best=4) == [8, 7, 4]
    assert write_on(9, best=9) == [9, 8]
    assert len(writer.seconds) == 9


def test_the_writer_removes_what_an_interrupted_write_left(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for name in (".unfinished-step-00000002-17", ".unfinished-step-00000001-removed"):
        shutil.copytree(tmp_path / "step-00000001", tmp_path / name)
    assert found_step(tmp_path) == 1
    CheckpointWriter(tmp_path, keep=1, step=1)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_the_writer_sets_aside_what_was_found_damaged(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3)
    damage(tmp_path / "step-00000003", "flipped model.safetensors")
    writer = CheckpointWriter(tmp_path, keep=2, step=2)
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-00000002", "step-00000001"]
    assert (tmp_path / ".damaged-step-00000003/model.safetensors").exists()
    # It is no newest one, for which others would have to go.
    writer.write(snapshot(4), TrainState(step=4), {})
    assert writer.wait() is None
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-00000004", "step-00000002"]


def test_folders_of_other_names_are_no_checkpoints(tmp_path: Path) -> None:
    write(tmp_path, 7, 11)
    (tmp_path / "step-of-mine").mkdir()
    shutil.copytree(tmp_path / "step-00000007", tmp_path / "step-00000007-copy")
    assert saved_step(tmp_path) == 11
    assert found_step(tmp_path) == 11
    prune(tmp_path, keep=1)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"latest", "step-00000011", "step-of-mine", "step-00000007-copy"}
    assert saved_step(tmp_path / "nowhere") == 0


def test_a_write_does_not_hold_up_its_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_let = threading.Event()

    def publish_when_let(*arguments: Any) -> Path:
        is_let.wait(10)
        return publish(*arguments)

    monkeypatch.setattr("langpose_dist.train.checkpoint.publish", publish_when_let)
    writer = CheckpointWriter(tmp_path, keep=1)
    writer.write(snapshot(1), TrainState(step=1), {})
    assert not checkpoint_folders(tmp_path)
    is_let.set()
    assert writer.wait() is None
    assert len(checkpoint_folders(tmp_path)) == 1


def test_a_write_waits_for_the_one_before(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.write(snapshot(1, size=10_000_000), TrainState(step=1), {})
    writer.write(snapshot(2), TrainState(step=2), {})
    assert (tmp_path / "step-00000001").exists()
    assert writer.wait() is None
    assert found_step(tmp_path) == 2


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with small_disk(tmp_path / "disk", "4m") as place:
        yield place


@pytest.mark.parametrize("free", [0, 200_000, 600_000])
def test_a_full_disk_is_told_loudly_and_costs_no_checkpoint_but_its_own(
    disk: Path, capfd: pytest.CaptureFixture[str], free: int
) -> None:
    folder = disk / "checkpoints"
    writer = CheckpointWriter(folder, keep=2)
    writer.write(snapshot(1, size=250_000), TrainState(step=1), {})
    assert writer.wait() is None
    # The second takes 1 MB; where there is some space it fails in its first or in its second file.
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize - free))
    writer.write(snapshot(2, size=250_000), TrainState(step=2), {})
    error = writer.wait()
    assert error is not None
    assert writer.failed_step == 2
    told = capfd.readouterr().err
    assert "langpose: error: the checkpoint of step 2 was not written: " in told
    assert sorted(file.name for file in folder.iterdir()) == ["latest", "step-00000001"]
    assert found_step(folder) == 1
    (disk / "filler").unlink()
    writer.write(snapshot(3, size=250_000), TrainState(step=3), {})
    assert writer.wait() is None
    assert writer.failed_step is None
    assert found_step(folder) == 3
    assert capfd.readouterr().err == ""


def test_a_full_disk_does_not_hinder_naming_the_best(disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(disk / "checkpoints", 1, 2)
    room = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(room.f_bavail * room.f_frsize))
    writer = CheckpointWriter(disk / "checkpoints", keep=2, step=2)
    writer.mark_best(2)
    told = capfd.readouterr().err
    assert f"{disk}/checkpoints/best cannot be written: No space left on device" in told
    (disk / "filler").unlink()
    writer.mark_best(2)
    assert (disk / "checkpoints/best").read_text() == "step-00000002\n"
    assert found_step(disk / "checkpoints") == 2
