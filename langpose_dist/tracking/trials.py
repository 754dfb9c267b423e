"""The trials of a sweep, as whoever started them sees them end: right status, tags, a registered model.

A trial records itself, as any training does. When its process is gone, its sweep adds to its journal what the
trial could not know or had no time to say. That is sent at once if the store answers, and by
``langpose registry replay SWEEP_FOLDER`` if it does not.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

from filelock import Timeout

from langpose_dist.config import UserError, load_config
from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.tracking.journal import (
    FOLDER,
    ORPHAN_SECONDS,
    Journal,
    Record,
    State,
    Status,
    is_training,
    read_journal,
    read_state,
    sender_lock,
    state_for,
    write_state,
)

_SENDING_SECONDS = 60.0
"""That sending one trial may take before the rest is left for later."""
_REGISTERING_SECONDS = 900.0
_ENDING_SECONDS = ORPHAN_SECONDS + 2
"""That processes of a trial may live on when it has ended."""
_POLL_SECONDS = 0.5
_LONGEST_PAUSE = 30.0
_VERSION_TAGS = ("config_hash", "data_fingerprint", "git_commit", "git_dirty", "langpose_version")
SWEEP_TAG = "sweep."
"""Prefix of the tags that say which part of a sweep a run was; a model registered from it carries them."""

_logger = logging.getLogger(__name__)


def settle(
    run_dir: Path,
    *,
    status: Status,
    reason: str,
    tags: Mapping[str, str],
    parent: str | None,
    uri: str | None,
    seconds: float = _SENDING_SECONDS,
) -> State | None:
    """Say how a trial ended whose process is gone, and send it; doing it again changes nothing.

    Waits for what is left of the trial's processes, then for the store, both for a limited time. What the
    store does not take now stays in the trial's folder. A trial that goes on later opens its run again.

    Args:
        run_dir: The trial's folder.
        status: How its run ended.
        reason: For a person; a trial that has said itself that it ended so has said why.
        tags: Of the run, such as how the sweep saw it end.
        parent: The sweep's run: its id, or the uid that it gave itself.
        uri: Tracking URI, as configured.
        seconds: After which the rest is left for later.

    Returns:
        How far it has been sent; ``None`` if the trial never came to record anything.

    Raises:
        UserError: If its training goes on, or nothing can be stored at the address.
    """
    ending = _Ending(run_dir, status, reason, tags, parent)
    until = time.monotonic() + _ENDING_SECONDS
    while is_training(run_dir):
        if time.monotonic() > until:
            raise UserError(f"{run_dir}: its training goes on, so there is no end of it to record")
        time.sleep(_POLL_SECONDS)
    if not ending.record():
        return None
    _send(run_dir, uri, seconds, patience=_ENDING_SECONDS)
    return read_state(run_dir)


@final
class Settler:
    """Settles the trials of a sweep without holding it up.

    ``submit`` writes to the trial's journal; a thread sends that, again and again while the store is away.

    Args:
        uri: Tracking URI, as configured.

    Raises:
        UserError: If nothing can be stored at the address.
    """

    def __init__(self, uri: str | None) -> None:
        from langpose_dist.tracking.client import resolve_uri

        self._uri = resolve_uri(uri)
        self._changed = threading.Condition()
        self._unrecorded: dict[Path, tuple[_Ending, float]] = {}
        """Trials that have not quite ended, with the time until which that is waited for."""
        self._unsent: set[Path] = set()
        self._is_closing = self._is_over = False
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
        self._thread.start()

    def submit(
        self, run_dir: Path, *, status: Status, reason: str, tags: Mapping[str, str], parent: str | None
    ) -> None:
        """As ``settle``, but returns at once; a trial that goes on after all is left alone, which is said."""
        with self._changed:
            ending = _Ending(run_dir, status, reason, tags, parent)
            self._unrecorded[run_dir] = ending, time.monotonic() + _ENDING_SECONDS
            self._record()
            self._changed.notify()

    def close(self, wait_seconds: float) -> list[Path]:
        """Send what is left, at most for a time, and not to a store that is away.

        Returns:
            The folders of which the store does not have all; ``langpose registry replay`` sends them.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(wait_seconds)
        with self._changed:
            self._is_over = True
            self._record()
            return sorted({*self._unrecorded, *self._unsent})

    def _record(self) -> None:
        """Write down what can be by now."""
        for run_dir, (ending, until) in list(self._unrecorded.items()):
            if not is_training(run_dir):
                try:
                    if ending.record():
                        self._unsent.add(run_dir)
                except OSError as error:  # a sweep does not end for it
                    _logger.warning("%s: its end cannot be recorded: %s", run_dir, error)
            elif time.monotonic() > until:
                _logger.warning("%s: its training goes on, so there is no end of it to record", run_dir)
            else:
                continue
            del self._unrecorded[run_dir]

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                while not (self._unrecorded or self._unsent or self._is_closing):
                    self._changed.wait()
                self._record()
                is_last, unsent = self._is_closing, sorted(self._unsent)
            outcomes = self._send(unsent)
            with self._changed:
                self._unsent = {run_dir for run_dir in self._unsent if not _is_sent(run_dir, self._uri)}
                is_ending = bool(self._unrecorded) or "busy" in outcomes
                if self._is_over or (is_last and not is_ending):
                    return
                is_soon = is_ending or self._is_closing or "sent" in outcomes
                pause = 0.0 if is_soon else min(_LONGEST_PAUSE, 2 * pause or _POLL_SECONDS)
                if self._unrecorded or self._unsent:
                    self._changed.wait(pause or _POLL_SECONDS)

    def _send(self, run_dirs: Sequence[Path]) -> set[str]:
        """How sending each went, up to the first that found the store away."""
        outcomes: set[str] = set()
        for run_dir in run_dirs:
            outcomes.add(_send(run_dir, self._uri, _SENDING_SECONDS, patience=0.0))
            if "away" in outcomes:
                break
        return outcomes


def register_trial(
    run_dir: Path, *, name: str, alias: str, uri: str | None, seconds: float = _REGISTERING_SECONDS
) -> str | None:
    """Register a finished trial's model; doing it again makes no second version.

    Its journal keeps the request: if the store is away now, ``langpose registry replay`` makes the version.
    That belongs to the trial's own run and carries those of its tags that begin with ``sweep.``.

    Args:
        run_dir: The trial's folder.
        name: Name in the registry; created where it is new.
        alias: Moves to the version.
        uri: Tracking URI, as configured.
        seconds: After which sending what came before it is left for later.

    Returns:
        ``"NAME/VERSION"``; ``None`` if it could not be done now, which is said.

    Raises:
        UserError: If the folder holds no finished and recorded training, or the registry takes no such name.
    """
    from langpose_dist.tracking.finished import read_json
    from langpose_dist.tracking.registry.versions import check_name

    check_name(name, alias)
    told = _Told.read(run_dir)
    weights = run_dir / "model.safetensors"
    if told is None or not weights.is_file():
        raise UserError(f"{run_dir} holds no finished training with a journal, so no model to register")
    wanted = {
        "weights": weights.name,
        "name": name,
        "alias": alias,
        "evaluation": read_json(run_dir / "evaluation.json"),
        "tags": {
            key: value
            for key, value in told.tags.items()
            if key in _VERSION_TAGS or key.startswith(SWEEP_TAG)
        },
        "licence": load_config(run_dir / "config.yaml").data.licence,
        "parents": told.parents,
    }
    asked = told.registration
    state = _state(run_dir, uri)
    is_asked = asked is not None and wanted.items() <= asked.content.items()
    was_refused = asked is not None and state.sent >= asked.end and state.registered_at != asked.end
    if not is_asked or was_refused:
        Journal(run_dir).append("register", **wanted)
    _send(run_dir, uri, seconds, patience=_ENDING_SECONDS, has_large_files=True)
    told, state = _Told.read(run_dir), read_state(run_dir)
    if told and told.registration and state.registered_at == told.registration.end:
        return state.registered
    _logger.warning(
        "%s is not registered as %s yet (%s); langpose registry replay %s does it",
        weights,
        name,
        state.problem or f"see {run_dir / FOLDER}",
        run_dir,
    )
    return None


def recorded_runs(folder: Path) -> list[Path]:
    """The folders with journals that a sweep's folder holds, its own first; any other folder as it is."""
    if not ((folder / "sweep.json").is_file() and (folder / "trials").is_dir()):
        return [folder]
    run_dirs = [folder, *sorted(path for path in (folder / "trials").iterdir() if path.is_dir())]
    return [run_dir for run_dir in run_dirs if Journal(run_dir).path.is_file()] or [folder]


@dataclass(frozen=True)
class _Ending:
    """How a trial ended, as its sweep sees it."""

    run_dir: Path
    status: Status
    reason: str
    tags: Mapping[str, str]
    parent: str | None

    def record(self) -> bool:
        """Add to the trial's journal what it does not say; false if the trial recorded nothing."""
        told = _Told.read(self.run_dir)
        if told is None:
            return False
        journal = Journal(self.run_dir)
        tags = redact_values(self.tags)
        if not tags.items() <= told.tags.items() or self.parent not in (None, told.parent):
            journal.append("tags", tags=tags, parent=self.parent)
        if told.status != self.status:
            # As the process is gone, the last that was heard of it is its end.
            journal.append("close", status=self.status, reason=redact(self.reason), time=told.time)
        if lost := journal.num_unwritten:
            _logger.error("%s could not be written: %d records of its end are lost", journal.path, lost)
        return True


@dataclass
class _Told:
    """What a trial's journal says by now."""

    tags: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    parents: list[str] = field(default_factory=list)
    """Runs that its weights started from."""
    status: Status | None = None
    """How the last attempt ended; ``None`` while nothing says so."""
    time: int = 0
    """When something was recorded last, milliseconds since 1970."""
    registration: Record | None = None
    """The last."""

    @classmethod
    def read(cls, run_dir: Path) -> "_Told | None":
        """``None`` if no attempt was begun."""
        told: _Told | None = None
        for record in read_journal(run_dir):
            content = record.content
            if record.kind == "open":
                told = told or cls()
                told.status = None
                told.tags |= content["tags"]
                told.parent = content.get("parent_run_id") or told.parent
                uid = content.get("initial_weights", {}).get("run_uid")
                told.parents = [uid] if uid else []
            if told is None:
                continue
            told.time = content.get("time", told.time)
            if record.kind == "tags":
                told.tags |= content["tags"]
                told.parent = content["parent"] or told.parent
            elif record.kind == "close":
                told.status = content["status"]
            elif record.kind == "register":
                told.registration = record
        return told


def _send(
    run_dir: Path, uri: str | None, seconds: float, *, patience: float, has_large_files: bool = False
) -> Literal["sent", "left", "away", "busy"]:
    """Send what a journal holds, unless a process of the trial still does."""
    from langpose_dist.tracking.client import StoreAway, connect, expect_large_files, one_line, resolve_uri
    from langpose_dist.tracking.replay import send_rest

    try:
        with sender_lock(run_dir).acquire(timeout=patience):
            if _is_sent(run_dir, uri):
                return "sent"
            try:
                client = connect(resolve_uri(uri), create=True)
            except UserError as error:
                is_away = isinstance(error, StoreAway)
                write_state(run_dir, _state(run_dir, uri), problem=one_line(error), is_refused=not is_away)
                raise
            if has_large_files:
                expect_large_files()
            send_rest(client, run_dir, seconds=seconds)
            return "sent" if _is_sent(run_dir, uri) else "left"
    except Timeout:
        return "busy"
    except StoreAway:
        return "away"
    except Exception as error:  # the store's refusal, the disk's
        _logger.debug("%s: %s", run_dir, one_line(error))
        return "left"


def _is_sent(run_dir: Path, uri: str | None) -> bool:
    """Whether the store has all of a journal whose trial has ended."""
    try:
        state = _state(run_dir, uri)
        return state.sent >= Journal(run_dir).size and state.unlinked is None
    except OSError:  # the folder cannot be read now
        return False


def _state(run_dir: Path, uri: str | None) -> State:
    from langpose_dist.tracking.client import resolve_uri

    return state_for(run_dir, redact(resolve_uri(uri)))
