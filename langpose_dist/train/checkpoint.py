"""A run's checkpoints on disk: published whole or not at all, verified before use, none lost to a crash.

A checkpoint is a folder ``step-00001000`` with two safetensors files and ``checkpoint.json``, which says
where the run stands and gives size and SHA-256 of each file. It is written under another name, pushed to
disk and renamed; then the file ``latest`` names it. Neither the number of ranks nor the ZeRO stage shows
in it, so a run resumes from it on any number of ranks and with any stage.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from langpose_dist.config import UserError
from langpose_dist.host.atomic import fsync_path, hash_file, write_text
from langpose_dist.host.console import say
from langpose_dist.models.weights import write_weights

WEIGHTS, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
STATE = "checkpoint.json"
_FORMAT = 1
_UNUSED = "random.safetensors"
"""Generator states in earlier checkpoints; every draw is a function of the position."""
_DAMAGED = ".damaged-"
_ASIDE = ".unfinished-"
"""Beginning of the name of a checkpoint that is being written, or being removed."""


@dataclass(frozen=True)
class TrainState:
    """Where a run stands; with the files beside it, it is all that resuming needs.

    The learning rate is a function of the step, and every draw of a function of the position: neither has
    a state of its own.
    """

    step: int = 0
    """Optimizer updates done."""
    position: int = 0
    """Samples of the training stream that are used up."""
    data_fingerprint: str = ""
    """Fingerprint of the data that the position counts in."""
    run_id: str | None = None
    """Id of the run in its tracking store."""
    evaluated_step: int = 0
    """Step of the last evaluation."""
    best_step: int | None = None
    """Step of the best evaluation."""
    best_value: float | None = None
    """Its metric."""
    since_log: tuple[float, ...] = ()
    """Sums of what is logged as means, since the last log."""
    counts_since_log: tuple[int, ...] = ()
    """Divisors of those sums."""
    steps_since_log: int = 0
    """Steps in those sums."""
    world_size: int = 1
    """Ranks that wrote the checkpoint; for people."""
    zero_stage: int = 0
    """How they shared out the optimizer's state; for people."""


@dataclass(frozen=True)
class Snapshot:
    """Copies in this process's memory of all tensors that a checkpoint holds."""

    weights: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


class CheckpointWriter:
    """Writes checkpoints beside the training; used on rank 0.

    A thread writes, hashes and publishes while training continues. A write that fails for want of space is
    told loudly and leaves the last checkpoint in place; the next one is tried in its turn.

    Args:
        folder: The run's ``checkpoints``.
        keep: Newest checkpoints that stay; the best one stays besides.
        step: Where the run resumes. What lies beyond was found damaged; it is set aside, under a name that no
            checkpoint has.
    """

    def __init__(self, folder: Path, *, keep: int, step: int = 0) -> None:
        self.folder = folder
        self.keep = keep
        self.seconds: list[float] = []
        """Duration of every write."""
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.failed_step: int | None = None
        """Step whose checkpoint could not be written, if that is the last one tried."""
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{_ASIDE}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for damaged in checkpoint_folders(folder):
            if _step_of(damaged) > step:
                target = folder / f"{_DAMAGED}{damaged.name}"
                shutil.rmtree(target, ignore_errors=True)
                damaged.rename(target)
        if step and _read_pointer(folder / "latest") != checkpoint_name(step):
            _point(folder / "latest", checkpoint_name(step))

    def write(self, snapshot: Snapshot, state: TrainState, header: Mapping[str, str]) -> None:
        """Begin to write, when the write before is done; the header makes the weights a model export."""
        self.wait()
        self.failed_step = None
        self._thread = threading.Thread(
            target=self._write, args=(snapshot, state, header), name="checkpoint", daemon=True
        )
        self._thread.start()

    def wait(self) -> Exception | None:
        """Wait for the write that is under way; returns what it failed of."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        return self._error

    def mark_best(self, step: int) -> None:
        """Let ``best`` name a checkpoint that was written before it was known to be the best."""
        self.wait()
        if (self.folder / checkpoint_name(step)).is_dir():
            try:
                _point(self.folder / "best", checkpoint_name(step))
            except OSError as error:
                say(f"error: {self.folder / 'best'} cannot be written: {error.strerror}")

    def _write(self, snapshot: Snapshot, state: TrainState, header: Mapping[str, str]) -> None:
        started = time.monotonic()
        try:
            target = publish(self.folder, snapshot, state, header)
            self._error = None
            _point(self.folder / "latest", target.name)
            if state.best_step == state.step:
                _point(self.folder / "best", target.name)
            prune(self.folder, keep=self.keep)
        except Exception as error:  # whatever safetensors or the disk raises; the run decides what follows
            is_published = (self.folder / checkpoint_name(state.step)).is_dir()
            self._error = None if is_published else error
            self.failed_step = None if is_published else state.step
            what = "was written, but not all beside it" if is_published else "was not written"
            remedy = f"; free space in {self.folder}" if "No space left" in str(error) else ""
            say(f"error: the checkpoint of step {state.step} {what}: {error}{remedy}")
        self.seconds.append(time.monotonic() - started)


def publish(folder: Path, snapshot: Snapshot, state: TrainState, header: Mapping[str, str]) -> Path:
    """Write a checkpoint so that it is there whole or not at all.

    Raises:
        OSError: If it cannot be written; nothing is left behind then.
    """
    target = folder / checkpoint_name(state.step)
    aside = folder / f"{_ASIDE}{target.name}-{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        write_weights(aside / WEIGHTS, snapshot.weights, header)
        save_file(dict(snapshot.optimizer), aside / OPTIMIZER)
        files = {}
        for name in (WEIGHTS, OPTIMIZER):
            (aside / name).chmod(0o644)
            files[name] = {"bytes": (aside / name).stat().st_size, "sha256": hash_file(aside / name)}
            fsync_path(aside / name)
        content = {"format": _FORMAT, **asdict(state), "files": files}
        content["sha256"] = _digest(content)
        write_text(aside / STATE, json.dumps(content, indent=2), durable=True)
        _remove(target)  # an unverified one of the same step
        aside.rename(target)
        fsync_path(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest checkpoints and the one that ``best`` names."""
    best = _read_pointer(folder / "best")
    for path in checkpoint_folders(folder)[keep:]:
        if path.name != best:
            _remove(path)


def checkpoint_folders(folder: Path) -> list[Path]:
    """Published checkpoints, newest first; none of them is verified."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{8,}", path.name)]
    return sorted(found, key=_step_of, reverse=True)


def saved_step(folder: Path) -> int:
    """Step of the newest published checkpoint; 0 without one."""
    return max(map(_step_of, checkpoint_folders(folder)), default=0)


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def checkpoint_name(step: int) -> str:
    """Name of a step's folder; in the order of the alphabet they are in the order of the steps."""
    return f"step-{step:08d}"


def verify_checkpoint(path: Path) -> TrainState:
    """Read every byte of a checkpoint and compare it with its hashes.

    Raises:
        ValueError: If anything is missing or different; the message says what.
    """
    try:
        content = json.loads((path / STATE).read_text(encoding="utf-8"))
        if content.pop("sha256") != _digest(content):
            raise ValueError(f"{STATE} is damaged: its SHA-256 is another")
        if (version := content.pop("format")) != _FORMAT:
            raise ValueError(f"format {version}, this version reads {_FORMAT}")
        files = content.pop("files")
        lists = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
        state = TrainState(**{**content, **lists})
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except OSError as error:
        raise ValueError(f"{STATE}: {error.strerror}") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{STATE} is damaged") from None
    if checkpoint_name(state.step) != path.name:
        raise ValueError(f"it is of step {state.step}")
    if set(expected) - {_UNUSED} != {WEIGHTS, OPTIMIZER}:
        raise ValueError(f"{STATE} lists other files")
    for name, (num_bytes, sha256) in expected.items():
        try:
            size = (path / name).stat().st_size
            if size != num_bytes:
                raise ValueError(f"{name} has {size} bytes, not {num_bytes}")
            if hash_file(path / name) != sha256:
                raise ValueError(f"{name} is damaged: its SHA-256 is another")
        except OSError as error:
            raise ValueError(f"{name}: {error.strerror}") from None
    return state


def find_checkpoint(
    folder: Path, *, strict: bool = False, warn: Callable[[str], None] = say
) -> tuple[Path, TrainState] | None:
    """The newest checkpoint that is whole.

    Args:
        folder: The run's ``checkpoints``.
        strict: Refuse to pass over a damaged one.
        warn: Is told of each that is passed over.

    Returns:
        Its folder and state; ``None`` if none was written yet.

    Raises:
        UserError: If none of them is whole, or with ``strict`` if the newest is not.
    """
    problems: list[str] = []
    latest = _read_pointer(folder / "latest")
    candidates = checkpoint_folders(folder)
    if latest is not None and latest not in [path.name for path in candidates]:
        problems.append(f"{folder / latest}: the newest checkpoint is gone")
    for path in candidates:
        try:
            state = verify_checkpoint(path)
        except ValueError as error:
            problems.append(f"{path}: {error}")
            continue
        if problems and strict:
            break
        for problem in problems:
            warn(f"WARNING: a checkpoint cannot be used, falling back to {path.name}: {problem}")
        return path, state
    if not problems:
        return None
    remedy = (
        "leave out --strict to fall back to the one before" if candidates and strict else "start a new run"
    )
    raise UserError(f"no checkpoint to resume from: {'; '.join(problems)}; {remedy}")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a verified checkpoint, by parameter of the model."""
    return load_file(path / WEIGHTS)


def read_optimizer(path: Path) -> dict[str, Tensor]:
    """The optimizer's state of a verified checkpoint."""
    return load_file(path / OPTIMIZER)


def _read_pointer(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _point(path: Path, name: str) -> None:
    write_text(path, name + "\n", durable=True)


def _remove(path: Path) -> None:
    # Renamed first: what is left of an interrupted removal never looks like a checkpoint.
    aside = path.with_name(f"{_ASIDE}{path.name}-removed")
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        shutil.rmtree(aside)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
