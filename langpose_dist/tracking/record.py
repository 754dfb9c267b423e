"""A run as it is to stand in its tracking store, and how far the store has it.

Both are files of the run's folder, each written whole by one process: ``tracking/record.json`` by the
training or its sweep, ``tracking/state.json`` by the process that sends. The values of the run are not among
them: those stay in ``metrics.jsonl``, and the ones that only the store needs in ``tracking/metrics.jsonl``.
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from langpose_dist.host.atomic import write_text
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import TIME
from langpose_dist.runs.tracker import Status

ORPHAN_TIMEOUT_S = 10.0
"""Longest time that a sender outlives its training."""
_TAIL_BYTES = 1024
_logger = logging.getLogger(__name__)


@dataclass
class Attempt:
    """One start of a run."""

    started: int
    """Milliseconds since 1970."""
    about: dict[str, Any]
    """First step, nodes, commit and the like."""
    status: Status | None = None
    """``None`` until the attempt says how it ended."""
    reason: str = ""
    ended: int | None = None
    """Milliseconds since 1970."""


@dataclass
class RunRecord:
    """A run as it is to stand in its tracking store."""

    uid: str
    """Name that the run gives itself before any store knows it."""
    user: str
    experiment: str
    run_name: str
    source: str
    """Program that recorded it."""
    params: dict[str, str]
    """Parameters of the first attempt."""
    changed: dict[str, str] = field(default_factory=dict)
    """Parameters of the last attempt that differ from those."""
    tags: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``log_datasets``."""
    parent: str | None = None
    """The run that this one belongs under: id or uid."""
    initial_weights: dict[str, str] = field(default_factory=dict)
    """Header of the weights that training started from."""
    run_id: str | None = None
    """Run to continue, where a checkpoint names one."""
    abandoned: str | None = None
    """The uid of an attempt that came to no step, was killed, and left its folder to this run."""
    attempts: list[Attempt] = field(default_factory=list)
    artifacts: list[tuple[str, str]] = field(default_factory=list)
    """Path in the run's folder, and folder among the artifacts; in the order in which they were logged."""
    registration: dict[str, Any] | None = None
    """The last request to register a model; its ``number`` counts them."""
    version: int = 0
    """Increases with every change."""

    @classmethod
    def read(cls, folder: RunFolder) -> "RunRecord | None":
        """The record of a run's folder; ``None`` where none can be read."""
        try:
            record = TypeAdapter(cls).validate_json(_record_file(folder).read_bytes())
        except (OSError, ValidationError):
            return None
        return record if record.attempts else None

    def write(self, folder: RunFolder) -> None:
        """Replace the record of a run's folder.

        Raises:
            OSError: If there is no space or no access.
        """
        folder.tracking.mkdir(parents=True, exist_ok=True)
        write_text(_record_file(folder), json.dumps(asdict(self), indent=1))

    @property
    def last(self) -> Attempt:
        """The newest attempt."""
        return self.attempts[-1]

    def end(self, status: Status, reason: str, ended: int) -> None:
        """Say how the newest attempt ended."""
        self.last.status, self.last.reason, self.last.ended = status, reason, ended

    def request_registration(self, **request: Any) -> int:
        """Ask for a model to be registered; returns the number of the request."""
        number = self.registration["number"] + 1 if self.registration else 1
        self.registration = {**request, "number": number}
        return number


@dataclass(frozen=True)
class Position:
    """How far a metrics file has been sent."""

    end: int = 0
    """Offset behind the last line that was sent."""
    size: int = 0
    """Size of the file then: more than ``end`` if its last line is cut off."""
    tail: str = ""
    """Digest of the bytes before ``end``; another one means that the file was rewritten."""

    @classmethod
    def at(cls, path: Path, end: int, size: int) -> "Position":
        """The position behind a line of a file."""
        return cls(end, size, _tail_digest(path, end))

    def find(self, path: Path) -> int:
        """Offset to continue from; 0 if the file was rewritten."""
        return self.end if self.end and _tail_digest(path, self.end) == self.tail else 0


@dataclass(frozen=True)
class MirrorState:
    """How far a tracking store has a run."""

    tracking_uri: str = ""
    """URI of that store, without credentials."""
    run_id: str | None = None
    """Given by the store."""
    version: int = 0
    """Version of the record that the store has, whole."""
    attempt: int = 0
    """Attempts that the store knows of."""
    positions: dict[str, Position] = field(default_factory=dict)
    """Metrics file -> how far it has been sent."""
    artifacts: int = 0
    """How many of the record's artifacts have been sent."""
    sent: int = 0
    """Values and files sent so far."""
    lost_attempt: int = 0
    """Attempt that was closed because its process died."""
    unlinked: str | None = None
    """The run that this one belongs under, while the store does not know it."""
    registration: int = 0
    """Number of the last request to register a model that was dealt with."""
    registered: str | None = None
    """``NAME/VERSION`` of that request; ``None`` if it was refused."""
    refused: int = 0
    """Values and files that the store will never take; ``refused.jsonl`` holds them with its reason."""
    problem: str | None = None
    """Why nothing can be sent at the moment."""
    is_refused: bool = False
    """True if the store refuses the run, rather than being unavailable."""

    def is_current(self, folder: RunFolder, record: RunRecord) -> bool:
        """True if the store has all that the folder holds."""
        positions = [
            (path, self.positions.get(name, Position())) for name, path in value_files(folder).items()
        ]
        return self.version == record.version and all(
            position.size == (path.stat().st_size if path.exists() else 0) for path, position in positions
        )


def value_files(folder: RunFolder) -> dict[str, Path]:
    """The files that hold a run's values, by name: the run's own, and what only the store needs."""
    return {"metrics": folder.metrics, "tracking": folder.tracking / "metrics.jsonl"}


def refused_file(folder: RunFolder) -> Path:
    """Refusals of the store that are final, a line each."""
    return folder.tracking / "refused.jsonl"


def sender_lock(folder: RunFolder) -> FileLock:
    """Lock held by whoever sends a run; the system frees it when that process ends."""
    return FileLock(folder.tracking / ".lock")


def read_state(folder: RunFolder) -> MirrorState:
    """How far the run has been sent; an empty state where nothing usable says so."""
    try:
        text = (folder.tracking / "state.json").read_bytes()
        return TypeAdapter(MirrorState).validate_json(text, strict=True)
    except (OSError, ValidationError):
        return MirrorState()


def state_for(folder: RunFolder, tracking_uri: str) -> MirrorState:
    """The state towards a store: another one than before knows nothing of the run."""
    state = read_state(folder)
    return state if state.tracking_uri == tracking_uri else MirrorState(tracking_uri=tracking_uri)


def write_state(folder: RunFolder, state: MirrorState, **changes: Any) -> MirrorState:
    """Keep a state with some changes; returns it. A disk that refuses it costs a repetition later on."""
    state = replace(state, **changes)
    try:
        folder.tracking.mkdir(parents=True, exist_ok=True)
        write_text(folder.tracking / "state.json", json.dumps(asdict(state), indent=1))
    except OSError as error:
        _logger.warning("the state in %s cannot be written: %s", folder.tracking, error.strerror or error)
    return state


def last_heard(folder: RunFolder, record: RunRecord) -> int:
    """When the newest attempt recorded something last, milliseconds since 1970."""
    times = [record.last.started, record.last.ended or 0]
    for path in value_files(folder).values():
        if path.exists():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - 64 * _TAIL_BYTES))
                times += [int(found) for found in re.findall(rb'"%b": (\d+)}\n' % TIME.encode(), file.read())]
    return max(times)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def attempt_tag(attempt: Attempt, **end: Any) -> str:
    """An attempt as JSON that MLflow has room for."""
    content: Mapping[str, Any] = {"status": attempt.status or "RUNNING", **attempt.about, **end}
    return json.dumps(
        {key: value[:500] if isinstance(value, str) else value for key, value in content.items()}
    )


def _record_file(folder: RunFolder) -> Path:
    return folder.tracking / "record.json"


def _tail_digest(path: Path, end: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, end - _TAIL_BYTES))
            return hashlib.sha256(file.read(min(end, _TAIL_BYTES))).hexdigest()[:16]
    except FileNotFoundError:
        return ""
