"""Final MLflow status, tags and registration of finished trials.

A trial records itself, as any training does. When its process is gone, its sweep adds to its record what the
trial could not know or had no time to say. That is sent at once if the store answers, and by
``langpose registry replay SWEEP_FOLDER`` if it does not.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from filelock import Timeout

from langpose_dist.config import UserError, load_config
from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.tracker import Status
from langpose_dist.tracking.record import (
    ORPHAN_TIMEOUT_S,
    MirrorState,
    RunRecord,
    last_heard,
    read_state,
    sender_lock,
    state_for,
)

SWEEP_TAG = "sweep."
"""Prefix of the tags that say which part of a sweep a run was; a model registered from it carries them."""
_ENDING_TIMEOUT_S = ORPHAN_TIMEOUT_S + 2
"""Longest time that processes of a trial may outlive its end."""
_POLL_INTERVAL_S = 0.5
_VERSION_TAGS = ("config_hash", "data_fingerprint", "git_commit", "git_dirty", "langpose_version")

_logger = logging.getLogger(__name__)


@final
class Settler:
    """Settles the trials of a sweep without holding it up.

    ``submit`` writes the trial's record; a thread sends what the store does not have, after each trial and
    once more at the end.

    Args:
        uri: Tracking URI, as configured.

    Raises:
        UserError: If nothing can be stored at the address.
    """

    def __init__(self, uri: str | None) -> None:
        from langpose_dist.tracking.client import resolve_uri

        self._uri = resolve_uri(uri)
        self._submitted: queue.SimpleQueue[_Ending | None] = queue.SimpleQueue()
        self._unsent: dict[Path, _Ending] = {}
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)
        self._thread.start()

    def submit(
        self, run_dir: Path, *, status: Status, reason: str, tags: Mapping[str, str], parent: str | None
    ) -> None:
        """Record how a trial ended and have it sent, without waiting; doing it again changes nothing.

        A trial that is still running after a while is left alone, with a warning. One that is resumed later
        opens its run again.

        Args:
            run_dir: The trial's folder.
            status: How its run ended.
            reason: For a person; a trial that has said itself that it ended so has said why.
            tags: Of the run, such as how the sweep saw it end.
            parent: The sweep's run: its id, or the uid that it gave itself.
        """
        ending = _Ending(RunFolder(run_dir), status, reason, tags, parent)
        if ending.folder.is_in_use() or ending.try_record():
            self._unsent[run_dir] = ending
            self._submitted.put(ending)

    def close(self, timeout_s: float) -> list[Path]:
        """Send what is left, at most for a time, and not to a store that is unavailable.

        Returns:
            The folders of which the store does not have all; ``langpose registry replay`` sends them.
        """
        self._submitted.put(None)
        self._thread.join(timeout_s)
        return sorted(self._unsent)

    def _run(self) -> None:
        while (ending := self._submitted.get()) is not None:
            if not ending.wait():
                _logger.warning(
                    "%s: its training is still running, so no end is recorded", ending.folder.path
                )
                self._unsent.pop(ending.folder.path, None)
            elif ending.try_record():
                # Until now the store had all there was, so it may have been taken for sent.
                self._unsent[ending.folder.path] = ending
            else:
                self._unsent.pop(ending.folder.path, None)
            self._send_all(patience_s=0.0)
        self._send_all(patience_s=_ENDING_TIMEOUT_S)

    def _send_all(self, *, patience_s: float) -> None:
        for run_dir, ending in list(self._unsent.items()):
            is_available = _send(ending.folder, self._uri, patience_s=patience_s)
            if _is_sent(ending.folder, self._uri):
                self._unsent.pop(run_dir, None)
            if not is_available:
                return


def register_trial(run_dir: Path, *, name: str, alias: str, uri: str | None) -> str | None:
    """Register a finished trial's model; doing it again makes no second version.

    Its record keeps the request: if the store is unavailable now, ``langpose registry replay`` makes the
    version. That belongs to the trial's own run and carries those of its tags that begin with ``sweep.``.

    Args:
        run_dir: The trial's folder.
        name: Name in the registry; created where it is new.
        alias: Moves to the version.
        uri: Tracking URI, as configured.

    Returns:
        ``"NAME/VERSION"``; ``None`` if it could not be done now, which is said.

    Raises:
        UserError: If the folder holds no finished and recorded training, or the registry takes no such name.
    """
    from langpose_dist.tracking.registry.versions import check_name

    check_name(name, alias)
    folder = RunFolder(run_dir)
    record = RunRecord.read(folder)
    if record is None or not folder.weights.is_file():
        raise UserError(f"{run_dir} holds no finished training with a record, so no model to register")
    uid = record.initial_weights.get("run_uid")
    tags = {
        key: value for key, value in record.tags.items() if key in _VERSION_TAGS or key.startswith(SWEEP_TAG)
    }
    request = {
        "weights": folder.weights.name,
        "name": name,
        "alias": alias,
        "evaluation": folder.read_evaluation(),
        "tags": tags,
        "licence": load_config(folder.config).data.licence,
        "parents": [uid] if uid else [],
    }
    asked = record.registration
    state = _state(folder, uri)
    is_asked = asked is not None and request.items() <= asked.items()
    was_refused = asked is not None and state.registration == asked["number"] and state.registered is None
    if not is_asked or was_refused:
        record.request_registration(**request)
        record.version += 1
        record.write(folder)
    _send(folder, uri, patience_s=_ENDING_TIMEOUT_S, has_large_files=True)
    state = read_state(folder)
    assert record.registration is not None
    if state.registration == record.registration["number"] and state.registered is not None:
        return state.registered
    _logger.warning(
        "%s is not registered as %s yet (%s); langpose registry replay %s does it",
        folder.weights,
        name,
        state.problem or f"see {folder.tracking}",
        run_dir,
    )
    return None


def recorded_runs(path: Path) -> list[Path]:
    """Folders of the recorded runs of a sweep, its own first; any other folder as it is."""
    if not ((path / "sweep.json").is_file() and (path / "trials").is_dir()):
        return [path]
    run_dirs = [path, *sorted(trial for trial in (path / "trials").iterdir() if trial.is_dir())]
    return [run_dir for run_dir in run_dirs if RunRecord.read(RunFolder(run_dir)) is not None] or [path]


@dataclass(frozen=True)
class _Ending:
    """How a trial ended, as its sweep sees it."""

    folder: RunFolder
    status: Status
    reason: str
    tags: Mapping[str, str]
    parent: str | None

    def wait(self) -> bool:
        """Wait until the trial's processes are gone; false if they are still there after a while."""
        until = time.monotonic() + _ENDING_TIMEOUT_S
        while self.folder.is_in_use():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_INTERVAL_S)
        return True

    def try_record(self) -> bool:
        """As ``record``, but a sweep does not end for a full disk."""
        try:
            return self.record()
        except OSError as error:
            _logger.warning("%s: its end cannot be recorded: %s", self.folder.path, error)
            return False

    def record(self) -> bool:
        """Add to the trial's record what it does not say; false if the trial recorded nothing."""
        record = RunRecord.read(self.folder)
        if record is None:
            return False
        before = record.last.status, dict(record.tags), record.parent
        record.tags |= redact_values(self.tags)
        record.parent = self.parent or record.parent
        if record.last.status != self.status:
            # As the process is gone, the last that was heard of it is its end.
            record.end(self.status, redact(self.reason), last_heard(self.folder, record))
        if (record.last.status, record.tags, record.parent) != before:
            record.version += 1
            record.write(self.folder)
        return True


def _send(folder: RunFolder, uri: str | None, *, patience_s: float, has_large_files: bool = False) -> bool:
    """Send what a trial's folder holds, unless a process of the trial still does.

    Returns:
        Whether the store answers, as far as is known.
    """
    from langpose_dist.tracking.client import (
        connect,
        expect_large_files,
        is_unavailable,
        one_line,
        resolve_uri,
    )
    from langpose_dist.tracking.mirror import mirror, note_problem

    try:
        with sender_lock(folder).acquire(timeout=patience_s):
            if _is_sent(folder, uri):
                return True
            try:
                client = connect(resolve_uri(uri), create=True)
            except UserError as error:
                note_problem(folder, _state(folder, uri), error)
                raise
            if has_large_files:
                expect_large_files()
            mirror(folder, client, is_over=not folder.is_in_use())
    except Timeout:
        return True
    except Exception as error:  # the store's refusal, the disk's
        _logger.debug("%s: %s", folder.path, one_line(error))
        return not is_unavailable(error)
    return True


def _is_sent(folder: RunFolder, uri: str | None) -> bool:
    """True if the store has all of a trial that has ended."""
    try:
        record, state = RunRecord.read(folder), _state(folder, uri)
        return record is not None and state.unlinked is None and state.is_current(folder, record)
    except OSError:  # the folder cannot be read now
        return False


def _state(folder: RunFolder, uri: str | None) -> MirrorState:
    from langpose_dist.tracking.client import resolve_uri

    return state_for(folder, redact(resolve_uri(uri)))
