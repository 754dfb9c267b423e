"""What a run has to tell its tracking store, kept in the run's folder until the store has it.

``tracking/journal.jsonl`` holds one record per line, in order, and is only ever appended to; the training
process writes it and never waits. ``tracking/state.json`` says how much of it the store has; whoever sends
writes it.
"""

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from langpose_dist.config import RUN_LOCK

FOLDER = "tracking"
ORPHAN_SECONDS = 10.0
"""That a sender lives on at most when its training is gone."""
Kind = Literal["open", "metrics", "artifact", "tags", "register", "close", "abandon"]
Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended."""
_KEYS = {
    "open": {
        "uid",
        "attempt",
        "time",
        "user",
        "experiment",
        "run_name",
        "tags",
        "params",
        "dataset",
        "about",
        "texts",
    },
    "metrics": {"step", "time", "values"},
    "artifact": {"path", "folder"},
    "tags": {"tags", "parent"},
    "register": {"weights", "name", "alias", "evaluation", "tags", "licence", "parents"},
    "close": {"status", "reason", "time"},
    "abandon": {"uid", "time"},
}
"""What a record of each kind has at least."""

_logger = logging.getLogger(__name__)
_MAX_UNWRITTEN = 100_000


@dataclass(frozen=True)
class Record:
    """One line of the journal."""

    kind: Kind
    content: Mapping[str, Any]
    end: int
    """Offset of the byte behind it."""


@dataclass(frozen=True)
class State:
    """How far a journal has been sent, and where to."""

    sent: int = 0
    """Bytes of the journal that the store has."""
    tracking_uri: str = ""
    """Of that store, without credentials."""
    run_id: str | None = None
    """That the store gave the run."""
    unlinked: str | None = None
    """The run that this one belongs under, while the store does not know it."""
    registered: str | None = None
    """``NAME/VERSION`` of the last registration."""
    registered_at: int = 0
    """Offset behind the record that asked for it."""
    refused: int = 0
    """Records that the store will never take; ``refused.jsonl`` holds them with its reason."""
    problem: str | None = None
    """Why nothing can be sent at the moment."""
    is_refused: bool = False
    """Whether that is because the store does not want it, rather than being away."""


@dataclass
class Journal:
    """Appends to the journal of a run. What a full disk refuses is kept in memory and written later.

    Args:
        run_dir: The run's folder.
    """

    run_dir: Path
    _unwritten: list[bytes] = field(default_factory=list)
    _has_warned: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def path(self) -> Path:
        """The file."""
        return self.run_dir / FOLDER / "journal.jsonl"

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, kind: Kind, **content: Any) -> None:
        """Add a record; never raises for the disk's sake.

        The kernel has it when this returns: no process's death loses it, a machine's may.
        """
        line = json.dumps({"kind": kind, **content}, separators=(",", ":"))
        with self._lock:
            self._unwritten.append(line.encode() + b"\n")
            self._write()

    @property
    def num_unwritten(self) -> int:
        """Records that the disk has refused so far; tried again by the next look at this."""
        with self._lock:
            if self._unwritten:
                self._write()
            return len(self._unwritten)

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                if file.tell() and not self._ends_in_newline():
                    _write(file.fileno(), b"\n")  # what was cut off there stays a line of its own
                while self._unwritten:
                    _write(file.fileno(), self._unwritten[0])
                    del self._unwritten[0]
        except OSError as error:
            del self._unwritten[:-_MAX_UNWRITTEN]
            if not self._has_warned:
                self._has_warned = True
                _logger.warning(
                    "%s cannot be written (%s); what it should hold is kept in memory for now",
                    self.path,
                    error.strerror or error,
                )
        else:
            self._has_warned = False

    def _ends_in_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


def read_journal(run_dir: Path, start: int = 0) -> Iterator[Record]:
    """The records from an offset on. A line without its end is left for later, a broken one left out."""
    try:
        with (run_dir / FOLDER / "journal.jsonl").open("rb") as file:
            file.seek(start)
            end = start
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                content = _parse(line)
                if content is not None:
                    yield Record(content.pop("kind"), content, end)
                elif line.strip():
                    _logger.warning(
                        "a record that is cut off or damaged is left out, at byte %d", end - len(line)
                    )
    except FileNotFoundError:
        return


def read_state(run_dir: Path) -> State:
    """How far the journal has been sent; from its start where nothing usable says so."""
    try:
        content = json.loads((run_dir / FOLDER / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return State()
    if not isinstance(content, dict):
        return State()
    known = {key: content[key] for key in State.__annotations__ if key in content}
    default = asdict(State())
    is_sound = all(
        type(value) is type(default[key]) or (default[key] is None and isinstance(value, str | None))
        for key, value in known.items()
    )
    return State(**known) if is_sound else State()


def sender_lock(run_dir: Path) -> FileLock:
    """Held by whoever sends the journal of a run; the system frees it when that process ends."""
    return FileLock(run_dir / FOLDER / ".lock")


def is_training(run_dir: Path) -> bool:
    """Whether a training, or a sweep, has the folder to itself at this moment."""
    lock = run_dir / RUN_LOCK
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def state_for(run_dir: Path, tracking_uri: str) -> State:
    """The state towards a store: another one than before knows nothing of the run.

    A journal shorter than what was sent of it lost its end with a machine: it is sent from its start.
    """
    state = read_state(run_dir)
    if state.tracking_uri != tracking_uri:
        return State(tracking_uri=tracking_uri)
    return state if state.sent <= Journal(run_dir).size else replace(state, sent=0)


def write_state(run_dir: Path, state: State, **changes: Any) -> State:
    """Keep a state with some changes; returns it. A disk that refuses it costs a repetition later on."""
    state = replace(state, **changes)
    path = run_dir / FOLDER / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("state.json.partial")
    try:
        partial.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        _logger.warning("%s cannot be written: %s", path, error.strerror or error)
    return state


def _parse(line: bytes) -> dict[str, Any] | None:
    """A record with all that its kind has, or nothing."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    keys = _KEYS.get(str(content.get("kind")))
    return content if keys is not None and keys <= content.keys() else None


def _write(descriptor: int, data: bytes) -> None:
    """All of it, or an error."""
    while data:
        data = data[os.write(descriptor, data) :]
