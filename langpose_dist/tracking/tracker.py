"""What a training calls to have its run recorded: a journal in the run's folder, sent to MLflow beside it."""

import contextlib
import json
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from filelock import Timeout

from langpose_dist import __version__
from langpose_dist.config import RunConfig, TrackingConfig, UserError
from langpose_dist.host.environment import user_name
from langpose_dist.host.redaction import redact, redact_values
from langpose_dist.tracking.journal import (
    FOLDER,
    ORPHAN_SECONDS,
    Journal,
    State,
    Status,
    read_journal,
    read_state,
    sender_lock,
    state_for,
    write_state,
)
from langpose_dist.tracking.sender import Sender

_logger = logging.getLogger(__name__)

_CHECK_SECONDS = "10"
_OPENING_SECONDS = 20.0
"""That a start waits to hear from the store."""
_AWAY_SECONDS = 10.0
"""That an end waits for a store that does not answer."""
_SENDING_SECONDS = 120.0
"""That an end waits for a store that does not say that it is away, since it last took something."""
_REGISTERING_SECONDS = 900.0
"""The same for a registration: a model may be large and the way slow."""
_STOPPING_SECONDS = 5.0
"""That is left for the store when the run is asked to stop while it waits for it."""
_REFUSED_SECONDS = 1.0
"""That an end waits for a store that does not want the run."""
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 5.0


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
        source: What MLflow's pages name as the program.
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
        self._open: _Open | None = None
        self._is_known_away = False

    def check(self) -> None:
        """See that the run can be recorded, now or later.

        Raises:
            UserError: If the store refuses it, or does not answer and ``tracking.required`` is set.
        """
        from langpose_dist.tracking.client import StoreAway, connect, resolve_uri, settings
        from langpose_dist.tracking.registry.versions import check_name
        from langpose_dist.tracking.runs import check_experiment

        if self._config.register_as is not None:
            check_name(self._config.register_as, self._config.alias)
        try:
            # Once, and not for long: the start waits for it.
            with settings(MLFLOW_HTTP_REQUEST_TIMEOUT=_CHECK_SECONDS, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
                check_experiment(connect(resolve_uri(self._config.uri), create=True), self._config.experiment)
        except StoreAway as error:
            if self._config.required:
                raise UserError(f"{error}; tracking.required is set") from None
            self._is_known_away = True
            _logger.warning("%s; the run is recorded in its folder and sent when the store is back", error)

    def start(
        self,
        *,
        config: RunConfig,
        run_dir: Path,
        dataset: str,
        data_fingerprint: str,
        environment: Mapping[str, str],
        packages: str,
        origin: Mapping[str, str],
        resumed: bool,
        step: int,
        run_id: str | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin to record a run, or go on with it; returns at once.

        Args:
            config: The resolved configuration.
            run_dir: The run's folder; its name is the run's name where none is configured.
            dataset: Name of the training data.
            data_fingerprint: Of the training data.
            environment: From ``describe_environment``.
            packages: Exact versions of all installed packages, as pip's constraints.
            origin: What the initial weights say of themselves; empty without any.
            resumed: Whether the run that the folder holds goes on.
            step: From which it goes on.
            run_id: Run to continue where the folder's journal is missing.
            is_stopping: Says whether the run was asked to stop, so that nothing is waited for longer.
        """
        from langpose_dist.tracking.client import resolve_uri

        uri = resolve_uri(self._config.uri)
        journal = Journal(run_dir)
        abandoned = None if resumed else _forget(run_dir)
        earlier = _Earlier.read(run_dir)
        uid = earlier.uid or uuid.uuid4().hex
        attempt = earlier.attempts + 1
        environment = redact_values(environment)
        tags = {
            "config_hash": config.hash(),
            "data_fingerprint": data_fingerprint,
            "git_commit": environment.get("git_commit", "unknown"),
            "git_dirty": environment.get("git_dirty", "unknown"),
            "langpose_version": __version__,
        }
        start = journal.size
        write_state(run_dir, state_for(run_dir, redact(uri)), problem=None, is_refused=False)
        journal.append(
            "open",
            uid=uid,
            attempt=attempt,
            run_id=run_id,
            time=_now(),
            user=user_name(),
            experiment=self._config.experiment,
            run_name=self._config.run_name or run_dir.resolve().name,
            parent_run_id=self._config.parent_run_id,
            # MLflow's pages show the commit under this name.
            tags={**redact_values(self._tags), **tags, "mlflow.source.git.commit": tags["git_commit"]},
            source=self._source,
            params={key: _text(value) for key, value in config.to_flat().items()},
            initial_weights=dict(origin),
            dataset={"name": dataset, "fingerprint": data_fingerprint, "source": redact(config.data.path)},
            about={
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "from_step": step,
                "nodes": ", ".join(dict.fromkeys(environment.get("nodes", "unknown").split(", "))),
                "world_size": environment.get("world_size", "unknown"),
                "commit": tags["git_commit"],
            },
            texts={
                **{name: redact(text) for name, text in self._texts.items()},
                "config.yaml": redact(config.to_yaml()),
                "environment.json": _text(environment),
                "constraints.txt": packages,
            },
        )
        if abandoned is not None:
            journal.append("abandon", uid=abandoned, time=_now())
        self._open = _Open(
            run_dir=run_dir,
            config=config,
            journal=journal,
            start=start,
            uid=uid,
            uri=redact(uri),
            tags=tags,
            parents=[origin["run_uid"]] if origin.get("run_uid") else [],
            logged=earlier.logged,
            sender=Sender(run_dir, uri, attempt),
            is_stopping=is_stopping,
        )

    def opened(self) -> None:
        """Wait until the store knows the run, or has shown that it is away.

        Raises:
            UserError: If the store refuses the run.
        """
        run = self._active()
        state = run.wait(
            lambda state: state.sent > run.start or bool(state.problem), _OPENING_SECONDS, away=0.0
        )
        if state.problem is not None and state.is_refused:
            run.is_closed = True  # there is none to close
            run.sender.close()
            raise UserError(f"the run cannot be recorded at {run.uri}: {state.problem}")
        run.say_problem(state, is_known=self._is_known_away)

    @property
    def record(self) -> dict[str, str]:
        """``run_uid``, ``tracking_uri`` without credentials, and ``run_id`` once the store has given one.

        Empty before ``start``.
        """
        if self._open is None:
            return {}
        run = self._open
        run_id = read_state(run.run_dir).run_id
        known = {"run_id": run_id} if run_id is not None else {}
        return {**known, "run_uid": run.uid, "tracking_uri": run.uri}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values of one step. One that an earlier attempt recorded for this step is left as it is."""
        run = self._active()
        values = {name: float(value) for name, value in metrics.items() if step > run.logged.get(name, -1)}
        if values:
            run.journal.append("metrics", step=step, time=_now(), values=values)
        run.look()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Store a file of the run's folder, or what a folder in it holds, under ``folder`` of its artifacts.

        Raises:
            ValueError: If either leads elsewhere.
        """
        run = self._active()
        inside = path.resolve().relative_to(run.run_dir.resolve())
        if Path(folder).is_absolute() or ".." in Path(folder).parts or "\\" in folder:
            raise ValueError(f"artifact folder {folder!r} leads out of the run")
        run.journal.append("artifact", path=inside.as_posix(), folder=folder)
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
        name = self._config.register_as
        if name is None:
            return None
        run.journal.append(
            "register",
            weights=weights.resolve().relative_to(run.run_dir.resolve()).as_posix(),
            name=name,
            alias=self._config.alias,
            evaluation=evaluation,
            tags=run.tags,
            licence=run.config.data.licence,
            parents=run.parents,
        )
        end = run.journal.size
        state = run.wait(run.has_sent, _REGISTERING_SECONDS, away=_AWAY_SECONDS, extends=True)
        if run.has_sent(state) and state.registered_at == end:
            return state.registered
        if run.has_sent(state):
            _logger.error("the model was not registered; %s says why", run.run_dir / FOLDER / "refused.jsonl")
        return None

    def finish(self, status: Status, reason: str = "", *, wait: bool = True) -> None:
        """Close the run, if one was started.

        Args:
            status: How it ended.
            reason: For a person.
            wait: Until the store has all of it, or has shown that it is away.
        """
        if self._open is None or self._open.is_closed:
            return
        run = self._open
        run.is_closed = True
        run.journal.append("close", status=status, reason=reason, time=_now())
        if not wait:
            return
        is_patient = status == "FINISHED"  # a run that was asked to stop has no time
        seconds = _SENDING_SECONDS if is_patient else _AWAY_SECONDS
        state = run.wait(run.has_sent, seconds, away=_AWAY_SECONDS, extends=is_patient)
        if state.refused:
            _logger.warning("MLflow took all but %d records; see %s", state.refused, run.run_dir / FOLDER)
        if lost := run.journal.num_unwritten:
            _logger.error(
                "%s could not be written: %d records of the run, its end among them, are lost when this "
                "process ends",
                run.journal.path,
                lost,
            )
        elif not run.has_sent(state):
            _logger.warning(
                "MLflow does not have all of the run yet (%s); nothing is lost, send it with: "
                "langpose registry replay %s%s",
                state.problem or "sending takes long",
                run.run_dir,
                "" if "REDACTED@" in run.uri else f" --tracking-uri {run.uri}",
            )
        run.sender.close()

    def _active(self) -> "_Open":
        assert self._open is not None, "start() comes first"
        return self._open


def _forget(run_dir: Path) -> str | None:
    """Take away what an attempt left that never came to a step, once its sender has ended.

    Returns:
        The uid of its run, if nothing says that it ended.
    """
    folder = run_dir / FOLDER
    if not folder.exists():
        return None
    with contextlib.suppress(Timeout), sender_lock(run_dir).acquire(timeout=ORPHAN_SECONDS + 2):
        earlier = _Earlier.read(run_dir)
        shutil.rmtree(folder, ignore_errors=True)
        return earlier.uid if earlier.is_open else None
    return None


@dataclass
class _Open:
    """A run that is being recorded."""

    run_dir: Path
    config: RunConfig
    journal: Journal
    start: int
    """Size of the journal before this attempt."""
    uid: str
    uri: str
    tags: dict[str, str]
    parents: list[str]
    logged: Mapping[str, int]
    """Last step of each metric that earlier attempts recorded."""
    sender: Sender
    is_stopping: Callable[[], bool]
    is_closed: bool = False
    _problem: str | None = None
    _looked_at: float = 0.0

    def has_sent(self, state: State) -> bool:
        """Whether the store has all that was recorded so far."""
        return not self.journal.num_unwritten and state.sent >= self.journal.size

    def wait(
        self, is_done: Callable[[State], bool], seconds: float, *, away: float, extends: bool = False
    ) -> State:
        """Until it is done, at most for a time: ``away`` seconds of a store that is known to be away.

        With ``extends`` the seconds count from when the store last took something.
        """
        self.sender.wake()
        begin, sent = time.monotonic(), -1
        while True:
            state = read_state(self.run_dir)
            if extends and state.sent > sent:
                begin, sent = time.monotonic(), state.sent
            if self.is_stopping():
                seconds = min(seconds, _STOPPING_SECONDS)
            if state.is_refused:
                limit = min(seconds, away, _REFUSED_SECONDS)
            elif state.problem is not None or self.journal.num_unwritten:  # away, or the disk is full
                limit = min(seconds, away)
            else:
                limit = seconds
            if is_done(state) or time.monotonic() > begin + limit:
                return state
            self.sender.keep_running()
            time.sleep(_POLL_SECONDS)

    def look(self) -> None:
        """Now and then, see how the sending goes."""
        if time.monotonic() > self._looked_at + _LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self.sender.keep_running()
            self.say_problem(read_state(self.run_dir))

    def say_problem(self, state: State, *, is_known: bool = False) -> None:
        """Tell when the store stops answering, if that is not known yet, and when it answers again."""
        if state.problem is not None and self._problem is None and not is_known:
            _logger.warning("MLflow does not take metrics, training goes on without it: %s", state.problem)
        elif state.problem is None and self._problem is not None:
            _logger.warning("MLflow answers again; what waited has been sent")
        self._problem = state.problem


@dataclass
class _Earlier:
    """What the journal holds of earlier attempts."""

    uid: str | None = None
    attempts: int = 0
    is_open: bool = False
    logged: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> "_Earlier":
        earlier = cls()
        for record in read_journal(run_dir):
            if record.kind == "open":
                earlier.uid = record.content["uid"]
                earlier.attempts = record.content["attempt"]
                earlier.is_open = True
            elif record.kind == "close":
                earlier.is_open = False
            elif record.kind == "metrics":
                step = record.content["step"]
                for name in record.content["values"]:
                    earlier.logged[name] = max(step, earlier.logged.get(name, -1))
        return earlier


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _text(value: Any) -> str:
    """Text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
