"""Records a run: its record in the run's folder, and the process that mirrors the folder into MLflow."""

import contextlib
import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from filelock import Timeout

from langpose_dist import __version__
from langpose_dist.config import TrackingConfig, UserError
from langpose_dist.host.environment import user_name
from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import MetricsFile
from langpose_dist.runs.tracker import RunInfo, Status
from langpose_dist.tracking.record import (
    ORPHAN_TIMEOUT_S,
    Attempt,
    MirrorState,
    RunRecord,
    now_ms,
    read_state,
    refused_file,
    sender_lock,
    state_for,
    value_files,
    write_state,
)
from langpose_dist.tracking.sender import Sender

_logger = logging.getLogger(__name__)

_CHECK_TIMEOUT_S = "10"
_OPENING_TIMEOUT_S = 20.0
"""Longest wait of a start for the store."""
_UNAVAILABLE_TIMEOUT_S = 10.0
"""Longest wait of an end for a store that does not answer, or refuses."""
_SENDING_TIMEOUT_S = 900.0
"""Longest wait of an end for a store that answers: a model may be large and the connection slow."""
_STOPPING_TIMEOUT_S = 5.0
"""The same once the run is asked to stop while it waits."""
_POLL_INTERVAL_S = 0.1
_LOOK_INTERVAL_S = 5.0


@final
class MLflowTracker:
    """Records one run in MLflow.

    All that is recorded goes into the run's folder first. After ``opened`` nothing raises, and nothing but
    ``register`` and ``finish`` waits; those two wait for a while, then leave the rest to ``langpose registry
    replay``.

    Args:
        config: Where to record it, and under which names.
        tags: Further tags of the run.
        texts: Further texts among its artifacts, by file name.
        source: Program that MLflow's pages name.
    """

    def __init__(
        self,
        config: TrackingConfig,
        *,
        tags: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
        source: str = "langpose train",
    ) -> None:
        self._config = config
        self._tags = dict(tags or {})
        self._texts = dict(texts or {})
        self._source = source
        self._run: ActiveRun | None = None
        self._is_known_unavailable = False

    def check(self) -> None:
        """Check that the run can be recorded, now or later.

        Raises:
            UserError: If the store refuses it, or does not answer and ``tracking.required`` is set.
        """
        from langpose_dist.tracking.client import StoreUnavailable, connect, resolve_uri, settings
        from langpose_dist.tracking.registry.versions import check_name
        from langpose_dist.tracking.runs import check_experiment

        if self._config.register_as is not None:
            check_name(self._config.register_as, self._config.alias)
        try:
            # Once, and not for long: the start waits for it.
            with settings(MLFLOW_HTTP_REQUEST_TIMEOUT=_CHECK_TIMEOUT_S, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
                check_experiment(connect(resolve_uri(self._config.uri), create=True), self._config.experiment)
        except StoreUnavailable as error:
            if self._config.required:
                raise UserError(f"{error}; tracking.required is set") from None
            self._is_known_unavailable = True
            _logger.warning("%s; the run is recorded in its folder and sent when the store is back", error)

    def start(self, info: RunInfo) -> None:
        """Begin to record a run, or resume it; returns at once."""
        from langpose_dist.tracking.client import resolve_uri

        uri = resolve_uri(self._config.uri)
        folder = RunFolder(info.run_dir)
        abandoned = None if info.is_resumed else _forget(folder)
        record = RunRecord.read(folder) or self._new_record(info, abandoned)
        write_state(folder, state_for(folder, redact(uri)), problem=None, is_refused=False)
        sender = Sender(info.run_dir, uri, len(record.attempts) + 1)
        run = ActiveRun(folder, info, record, redact(uri), sender)
        with run.change():
            self._add_attempt(record, info)
            self._write_texts(record, info, folder)
        sender.start()
        self._run = run

    def opened(self) -> None:
        """Wait until the store knows the run, or has shown that it is unavailable.

        Raises:
            UserError: If the store refuses the run.
        """
        run = self._active()
        number = len(run.record.attempts)
        state = run.wait(lambda state: state.attempt >= number or bool(state.problem), _OPENING_TIMEOUT_S)
        if state.problem is not None and state.is_refused:
            run.is_closed = True  # there is none to close
            run.sender.close()
            raise UserError(f"the run cannot be recorded at {run.uri}: {state.problem}")
        run.report_problem(state, is_known=self._is_known_unavailable)

    @property
    def record(self) -> dict[str, str]:
        """``run_uid``, ``tracking_uri`` without credentials, and ``run_id`` once the store has given one.

        Empty before ``start``.
        """
        if self._run is None:
            return {}
        run = self._run
        run_id = read_state(run.folder).run_id
        known = {"run_id": run_id} if run_id is not None else {}
        return {**known, "run_uid": run.record.uid, "tracking_uri": run.uri}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values that ``metrics.jsonl`` does not hold. One that the store has of this step stays."""
        run = self._active()
        run.values.append({name: float(value) for name, value in metrics.items()}, step)
        run.look()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Store a file of the run's folder, or what a folder in it holds, under ``folder`` of its artifacts.

        Raises:
            ValueError: If either leads elsewhere.
        """
        run = self._active()
        inside = path.resolve().relative_to(run.folder.path.resolve())
        if Path(folder).is_absolute() or ".." in Path(folder).parts or "\\" in folder:
            raise ValueError(f"artifact folder {folder!r} leads out of the run")
        with run.change():
            run.record.artifacts.append((inside.as_posix(), folder))
        run.sender.wake()

    def register(self, weights: Path, evaluation: Mapping[str, Any]) -> str | None:
        """Register exported weights under the configured name and alias.

        Args:
            weights: A file of the run's folder.
            evaluation: Its numbers with all that they need to be understood.

        Returns:
            ``"NAME/VERSION"``; ``None`` if no name is configured or it could not be done now, which is said.
        """
        run = self._active()
        if self._config.register_as is None:
            return None
        inside = weights.resolve().relative_to(run.folder.path.resolve())
        origin = run.info.origin
        with run.change():
            number = run.record.request_registration(
                weights=inside.as_posix(),
                name=self._config.register_as,
                alias=self._config.alias,
                evaluation=dict(evaluation),
                tags=_version_tags(run.info),
                licence=run.info.config.data.licence,
                parents=[origin["run_uid"]] if origin.get("run_uid") else [],
            )
        state = run.wait(run.has_sent, _SENDING_TIMEOUT_S)
        if run.has_sent(state) and state.registration == number:
            if state.registered is None:
                _logger.error("the model was not registered; %s says why", refused_file(run.folder))
            return state.registered
        return None

    def finish(self, status: Status, reason: str = "", *, wait: bool = True) -> None:
        """Close the run, if one was started.

        Args:
            status: How it ended.
            reason: For a person.
            wait: Until the store has all of it, or has shown that it is unavailable.
        """
        if self._run is None or self._run.is_closed:
            return
        run = self._run
        run.is_closed = True
        with run.change():
            run.record.end(status, reason, now_ms())
        if not wait:
            return
        # A run that was asked to stop has no time.
        seconds = _SENDING_TIMEOUT_S if status == "FINISHED" else _UNAVAILABLE_TIMEOUT_S
        run.report_end(run.wait(run.has_sent, seconds))
        run.sender.close()

    def _active(self) -> "ActiveRun":
        assert self._run is not None, "start() comes first"
        return self._run

    def _new_record(self, info: RunInfo, abandoned: str | None) -> RunRecord:
        return RunRecord(
            uid=uuid.uuid4().hex,
            user=user_name(),
            experiment=self._config.experiment,
            run_name=self._config.run_name or info.run_dir.resolve().name,
            source=self._source,
            params={key: _text(value) for key, value in info.config.to_flat().items()},
            run_id=info.run_id,
            abandoned=abandoned,
        )

    def _add_attempt(self, record: RunRecord, info: RunInfo) -> None:
        environment = redact_values(info.environment)
        tags = _version_tags(info)
        # MLflow's pages show the commit under this name.
        record.tags |= redact_values(self._tags) | tags | {"mlflow.source.git.commit": tags["git_commit"]}
        params = {key: _text(value) for key, value in info.config.to_flat().items()}
        record.changed = {key: value for key, value in params.items() if record.params.get(key) != value}
        record.parent = self._config.parent_run_id or record.parent
        record.initial_weights = dict(info.origin)
        data = info.config.data
        record.dataset = {
            "name": info.dataset,
            "fingerprint": info.data_fingerprint,
            "source": redact(data.path),
            "splits": {data.train_split: "training", data.validation_split: "validation"},
            "num_frames": info.config.window.num_frames,
        }
        about = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": info.step,
            "nodes": ", ".join(dict.fromkeys(environment.get("nodes", "unknown").split(", "))),
            "world_size": environment.get("world_size", "unknown"),
            "commit": tags["git_commit"],
        }
        record.attempts.append(Attempt(now_ms(), about))

    def _write_texts(self, record: RunRecord, info: RunInfo, folder: RunFolder) -> None:
        """Put aside the texts that belong to the run's artifacts."""
        texts = {
            **{name: redact(text) for name, text in self._texts.items()},
            "config.yaml": redact(info.config.to_yaml()),
            "environment.json": _text(redact_values(info.environment)),
            "constraints.txt": info.packages,
        }
        place = folder.tracking / "texts"
        with contextlib.suppress(OSError):  # a full disk is reported for the record itself
            place.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (place / name).write_text(text, encoding="utf-8")
                record.artifacts.append(((place / name).relative_to(folder.path).as_posix(), ""))


@dataclass
class ActiveRun:
    """A run that is being recorded."""

    folder: RunFolder
    info: RunInfo
    record: RunRecord
    uri: str
    """URI of the store, without credentials."""
    sender: Sender
    is_closed: bool = False
    _is_written: bool = True
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _problem: str | None = None
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        self.folder.tracking.mkdir(parents=True, exist_ok=True)
        self.values = MetricsFile(value_files(self.folder)["tracking"], self.info.step)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Change the record, and write it; what a full disk refuses is kept in memory and written later."""
        with self._lock:
            yield
            self.record.version += 1
            was_written, self._is_written = self._is_written, False
            error = self._write()
            if error is not None and was_written:
                _logger.warning(
                    "%s cannot be written (%s); what it should hold is kept in memory for now",
                    self.folder.tracking,
                    error.strerror or error,
                )

    def is_written(self) -> bool:
        """True if the disk has all that was recorded; what is missing is tried again."""
        with self._lock:
            if not self._is_written:
                self._write()
            return self.values.flush() and self._is_written

    def has_sent(self, state: MirrorState) -> bool:
        """True if the store has all that was recorded so far."""
        return self.is_written() and state.is_current(self.folder, self.record)

    def wait(self, is_done: Callable[[MirrorState], bool], timeout_s: float) -> MirrorState:
        """Wait until it is done, at most for a time, and less for a store that is unavailable.

        Args:
            is_done: Asked of how far the store has the run.
            timeout_s: For a store that answers.
        """
        self.sender.wake()
        begin = answered = time.monotonic()
        while True:
            state, now = read_state(self.folder), time.monotonic()
            if state.problem is None and self.is_written():
                answered = now
            if self.info.is_stopping():
                timeout_s = min(timeout_s, _STOPPING_TIMEOUT_S)
            if is_done(state) or now > begin + timeout_s or now > answered + _UNAVAILABLE_TIMEOUT_S:
                return state
            self.sender.keep_running()
            time.sleep(_POLL_INTERVAL_S)

    def look(self) -> None:
        """See how the sending goes, every few seconds."""
        if time.monotonic() > self._looked_at + _LOOK_INTERVAL_S:
            self._looked_at = time.monotonic()
            self.is_written()
            self.sender.keep_running()
            self.report_problem(read_state(self.folder))

    def report_problem(self, state: MirrorState, *, is_known: bool = False) -> None:
        """Tell when the store stops answering, if that is not known yet, and when it answers again."""
        if state.problem is not None and self._problem is None and not is_known:
            _logger.warning("MLflow does not take metrics, training continues without it: %s", state.problem)
        elif state.problem is None and self._problem is not None:
            _logger.warning("MLflow answers again; what waited has been sent")
        self._problem = state.problem

    def report_end(self, state: MirrorState) -> None:
        """Tell what the store does not have when the run is over."""
        if state.refused:
            _logger.warning("MLflow took all but %d records; see %s", state.refused, self.folder.tracking)
        if not self.is_written():
            _logger.error(
                "%s could not be written: the last values of the run, or its end, are lost when this process "
                "ends",
                self.folder.tracking,
            )
        elif not self.has_sent(state):
            _logger.warning(
                "MLflow does not have all of the run yet (%s); nothing is lost, send it with: "
                "langpose registry replay %s%s",
                state.problem or "sending takes long",
                self.folder.path,
                "" if "REDACTED@" in self.uri else f" --tracking-uri {self.uri}",
            )

    def _write(self) -> OSError | None:
        try:
            self.record.write(self.folder)
        except OSError as error:
            return error
        self._is_written = True
        return None


def _forget(folder: RunFolder) -> str | None:
    """Remove what an attempt left that never came to a step, once its sender has ended.

    Returns:
        The uid of its run, if nothing says that it ended.
    """
    if not folder.tracking.exists():
        return None
    with contextlib.suppress(Timeout), sender_lock(folder).acquire(timeout=ORPHAN_TIMEOUT_S + 2):
        record = RunRecord.read(folder)
        shutil.rmtree(folder.tracking, ignore_errors=True)
        return record.uid if record is not None and record.last.status is None else None
    return None


def _version_tags(info: RunInfo) -> dict[str, str]:
    """Tags of a run that the versions of its models carry too."""
    return {
        "config_hash": info.config.hash(),
        "data_fingerprint": info.data_fingerprint,
        "git_commit": redact(info.environment.get("git_commit", "unknown")),
        "git_dirty": redact(info.environment.get("git_dirty", "unknown")),
        "langpose_version": __version__,
    }


def _text(value: Any) -> str:
    """Text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
