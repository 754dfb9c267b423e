"""Brings what a run's folder holds into MLflow, as often as it is called, with nothing twice.

The folder is compared with the run in the store, and the difference is sent. A run is found by the uid that
it gave itself, a value is sent only beyond the last step that the store has of its name, files and tags
replace themselves, and a registration finds its own version. So a lost answer or a crash doubles nothing.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER

from langpose_dist.config import UserError, load_config
from langpose_dist.host.redaction import redact
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import TIME, follow_metrics
from langpose_dist.tracking.client import StoreUnavailable, is_unavailable, one_line
from langpose_dist.tracking.record import (
    ORPHAN_TIMEOUT_S,
    MirrorState,
    Position,
    RunRecord,
    attempt_tag,
    last_heard,
    refused_file,
    sender_lock,
    state_for,
    value_files,
    write_state,
)
from langpose_dist.tracking.runs import (
    MAX_METRICS_PER_BATCH,
    PARENT_RUN,
    RUN_UID,
    create_run,
    find_named_run,
    find_run,
    find_run_by_uid,
    latest_steps,
    log_datasets,
    log_metrics,
    log_params,
    log_tags,
    metric_name,
)

LOST = "the process died without reporting an error"
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "INVALID_STATE")
"""Error codes of MLflow that asking again does not change."""
_logger = logging.getLogger(__name__)


class _RunDeleted(Exception):
    """The run was deleted from the store."""


def mirror(
    folder: RunFolder,
    client: MlflowClient,
    *,
    is_over: bool = False,
    if_changed: bool = False,
) -> MirrorState:
    """Bring a run's folder into MLflow; for whoever holds the ``sender_lock``.

    Args:
        folder: Of the run; its training may continue to write to it.
        client: From ``connect``.
        is_over: The run's process has ended: an attempt that does not say how is closed as FAILED.
        if_changed: Ask nothing of the store unless the folder has changed since it was sent.

    Returns:
        How far the store has the run now.

    Raises:
        UserError: If the folder holds no record of a run.
        Exception: Whatever MLflow raises where asking again may help; what was sent is remembered.
    """
    record = RunRecord.read(folder)
    if record is None:
        raise UserError(f"{folder.path} holds no record of a run; name the output= folder of a training")
    state = state_for(folder, redact(client.tracking_uri))
    is_lost = is_over and record.last.status is None
    is_closed = not is_lost or state.lost_attempt == len(record.attempts)
    if if_changed and is_closed and state.unlinked is None and state.is_current(folder, record):
        return write_state(folder, state, problem=None, is_refused=False) if state.problem else state
    sending = _Mirror(folder, client, record, state, is_lost=is_lost)
    try:
        try:
            sending.send()
        except _RunDeleted:
            sending.begin_again()
            sending.send()
    except Exception as error:  # MLflow's, its drivers', the disk's
        note_problem(folder, sending.state, error)
        raise
    return sending.state


def note_problem(folder: RunFolder, state: MirrorState, error: Exception) -> None:
    """Remember why nothing can be sent, for those who wait for it."""
    write_state(folder, state, problem=one_line(error), is_refused=not is_unavailable(error))


def replay(client: MlflowClient, run_dir: Path) -> tuple[int, MirrorState]:
    """Send all that a finished or broken-off run left unsent, and close it.

    Args:
        client: From ``connect``.
        run_dir: The run's folder.

    Returns:
        How many values and files were sent, and the state after that.

    Raises:
        StoreUnavailable: If the store does not answer.
        UserError: If the folder holds no recorded run, its training is still recording it, or the store does
            not take it now.
    """
    folder = RunFolder(run_dir)
    if RunRecord.read(folder) is None:
        raise UserError(f"{folder.path} holds no record of a run; name the output= folder of a training")
    try:
        with sender_lock(folder).acquire(timeout=ORPHAN_TIMEOUT_S + 2):
            before = state_for(folder, redact(client.tracking_uri)).sent
            # While the training lives, its sender alone is gone.
            is_over = not folder.is_in_use()
            state = mirror(folder, client, is_over=is_over)
            return state.sent - before, state
    except Timeout:
        raise UserError(f"{folder.path}: its training is running and sends what it records itself") from None
    except Exception as error:  # MLflow's, its drivers', the disk's
        kind = StoreUnavailable if is_unavailable(error) else UserError
        raise kind(
            f"{folder.path}: the store does not take the rest now: {one_line(error)}; nothing is lost, "
            "send it again later"
        ) from None


class _Mirror:
    """One comparison of a folder with its run in the store."""

    def __init__(
        self,
        folder: RunFolder,
        client: MlflowClient,
        record: RunRecord,
        state: MirrorState,
        *,
        is_lost: bool,
    ) -> None:
        self.folder = folder
        self.client = client
        self.record = record
        self.state = state
        self.is_lost = is_lost

    def send(self) -> None:
        """Send the difference, in the order in which a reader of the run needs it."""
        run = self._find() or self._create()
        self._remember(run_id=run.info.run_id)
        self._describe(run)
        self._remember(attempt=len(self.record.attempts))
        self._send_values(run)
        self._close(run)  # before files, at which a store may break down that takes all else
        self._send_artifacts(run.info.run_id)
        self._register(run.info.run_id)
        lost = len(self.record.attempts) if self.is_lost else self.state.lost_attempt
        self._remember(version=self.record.version, lost_attempt=lost, problem=None, is_refused=False)

    def begin_again(self) -> None:
        """Forget all that a store had which has lost the run."""
        _logger.warning("run %s was deleted from MLflow; it is sent anew", self.state.run_id)
        self.state = MirrorState(tracking_uri=self.state.tracking_uri, sent=self.state.sent)
        self._remember()

    def _find(self) -> Run | None:
        if self.state.run_id is not None:
            run = find_run(self.client, self.state.run_id)
            if run is not None:
                return run
            self.begin_again()
        run = find_run_by_uid(self.client, self.record.uid)
        if run is None and self.record.run_id:
            run = find_run(self.client, self.record.run_id)
        return run

    def _create(self) -> Run:
        return create_run(
            self.client,
            experiment=self.record.experiment,
            name=self.record.run_name,
            tags={
                **self.record.tags,
                RUN_UID: self.record.uid,
                MLFLOW_USER: self.record.user,
                MLFLOW_SOURCE_NAME: self.record.source,
                MLFLOW_SOURCE_TYPE: "LOCAL",
            },
            time=self.record.attempts[0].started,
        )

    def _describe(self, run: Run) -> None:
        """Parameters, tags and data; and that the run is open, if it is."""
        if self.state.version == self.record.version and not self.is_lost and self.state.unlinked is None:
            return
        record = self.record
        tags = record.tags | {RUN_UID: record.uid, "attempts": str(len(record.attempts))}
        for number, attempt in enumerate(record.attempts, 1):
            end = self._end(number)
            tags[f"attempt.{number}"] = attempt_tag(attempt, **end)
        tags |= self._link() | self._link_weights()
        if record.last.status is None and not self.is_lost and run.info.status != "RUNNING":
            self.client.update_run(run.info.run_id, status="RUNNING")
        log_params(self.client, run, record.params, record.changed)
        log_tags(self.client, run, tags)
        is_linked = not record.parent or MLFLOW_PARENT_RUN_ID in tags
        self._remember(unlinked=None if is_linked else record.parent)
        if self.state.attempt < len(record.attempts):
            log_datasets(self.client, run.info.run_id, **record.dataset)
        if record.abandoned and self.state.attempt == 0:
            abandoned = find_run_by_uid(self.client, record.abandoned)
            if abandoned is not None and abandoned.info.status == "RUNNING":
                self.client.set_terminated(abandoned.info.run_id, "FAILED", record.attempts[0].started)

    def _end(self, number: int) -> dict[str, Any]:
        """End of an attempt, as the store is to show it; empty while it runs."""
        attempt, is_last = self.record.attempts[number - 1], number == len(self.record.attempts)
        if attempt.status is not None:
            assert attempt.ended is not None
            return {"ended": _iso(attempt.ended), "reason": attempt.reason}
        if is_last and not self.is_lost:
            return {}
        ended = last_heard(self.folder, self.record) if is_last else self.record.attempts[number].started
        return {"status": "FAILED", "ended": _iso(ended), "reason": LOST}

    def _link(self) -> dict[str, str]:
        """Tags that put the run under another one, as far as the store knows that one by now."""
        parent = self.record.parent
        if not parent:
            return {}
        found = find_named_run(self.client, parent)
        return {PARENT_RUN: parent, **({MLFLOW_PARENT_RUN_ID: found.info.run_id} if found else {})}

    def _link_weights(self) -> dict[str, str]:
        uid = self.record.initial_weights.get("run_uid")
        if not uid or self.state.attempt == len(self.record.attempts):
            return {}
        source = find_run_by_uid(self.client, uid)
        run_id = source.info.run_id if source is not None else "not in this store"
        return {"initial_weights.run_uid": uid, "initial_weights.run_id": run_id}

    def _send_values(self, run: Run) -> None:
        known = latest_steps(run)
        for name, path in value_files(self.folder).items():
            size = path.stat().st_size if path.exists() else 0
            end = self.state.positions.get(name, Position()).find(path)
            for metrics, behind in self._batches(follow_metrics(path, end), known):
                self._send_batch(run.info.run_id, metrics)
                end = behind
                self._remember_position(name, end, end)
            self._remember_position(name, end, max(size, end))

    def _remember_position(self, name: str, end: int, size: int) -> None:
        position = Position.at(value_files(self.folder)[name], end, size)
        if self.state.positions.get(name, Position()) != position:
            self._remember(positions={**self.state.positions, name: position})

    def _batches(
        self, lines: Iterator[tuple[dict[str, Any], int]], known: dict[str, int]
    ) -> Iterator[tuple[list[Metric], int]]:
        """Values beyond the known steps, a request's worth at a time, with the offset behind them."""
        batch: list[Metric] = []
        end = 0
        for line, end in lines:
            step, now = line.pop("step"), line.pop(TIME, self.record.last.started)
            for name, value in line.items():
                key = metric_name(name)
                if step > known.get(key, -1):
                    batch.append(Metric(key, value, now, step))
                    known[key] = step
            if len(batch) >= MAX_METRICS_PER_BATCH // 2:
                yield batch, end
                batch = []
        if end:
            yield batch, end

    def _send_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Send values; one that is refused takes none of its neighbours along."""
        if not metrics:
            return

        def send() -> None:
            log_metrics(self.client, run_id, metrics)

        if len(metrics) == 1:
            (metric,) = metrics
            content = {"step": metric.step, "time": metric.timestamp, "values": {metric.key: metric.value}}
            self._send_or_refuse("metrics", content, send)
            return
        try:
            send()
        except Exception as error:
            if not self._is_refusal("metrics", error):
                raise
            middle = len(metrics) // 2
            self._send_batch(run_id, metrics[:middle])
            self._send_batch(run_id, metrics[middle:])
        else:
            self._remember(sent=self.state.sent + len(metrics))

    def _send_artifacts(self, run_id: str) -> None:
        for number in range(self.state.artifacts, len(self.record.artifacts)):
            name, place = self.record.artifacts[number]
            path = self.folder.path / name

            def send(path=path, place=place) -> None:
                if not path.exists():
                    raise UserError(f"{path} is gone")
                log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
                log(run_id, str(path), place or None)

            self._send_or_refuse("artifact", {"path": name, "folder": place}, send)
            self._remember(artifacts=number + 1)

    def _register(self, run_id: str) -> None:
        request = self.record.registration
        if request is None or request["number"] <= self.state.registration:
            return

        def send() -> None:
            # With torch: most of a sender's life needs none of it.
            from langpose_dist.tracking.registry.registration import register_model

            arguments = {key: value for key, value in request.items() if key not in ("number", "weights")}
            registered = register_model(
                self.client,
                run_id=run_id,
                weights=self.folder.path / request["weights"],
                config=load_config(self.folder.config),
                **arguments,
            )
            self._remember(registered=registered)

        self._remember(registered=None)
        self._send_or_refuse("register", request, send)
        self._remember(registration=request["number"])

    def _close(self, run: Run) -> None:
        last = self.record.last
        if last.status is not None:
            status, ended = last.status, last.ended
        elif self.is_lost:
            status, ended = "FAILED", last_heard(self.folder, self.record)
        else:
            return
        if (run.info.status, run.info.end_time) != (status, ended):
            self.client.set_terminated(run.info.run_id, status, ended)

    def _send_or_refuse(self, kind: str, content: dict[str, Any], send: Callable[[], None]) -> None:
        """Send a part of the run, or set it aside if the store will never take it."""
        try:
            send()
        except Exception as error:
            if not self._is_refusal(kind, error):
                raise
            self._refuse({"reason": one_line(error), "kind": kind, **content})
        else:
            self._remember(sent=self.state.sent + 1)

    def _is_refusal(self, kind: str, error: Exception) -> bool:
        """True if asking again does not help.

        Raises:
            _RunDeleted: If it is the run that is gone.
        """
        is_refusal = isinstance(error, UserError) and not isinstance(error, StoreUnavailable)
        is_refusal |= isinstance(error, MlflowException) and error.error_code in _REFUSALS
        if kind != "metrics" and not is_unavailable(error):
            is_refusal |= getattr(error, "error_code", "") != "UNAUTHENTICATED"
        if is_refusal and find_run(self.client, self.state.run_id or "") is None:
            raise _RunDeleted from None
        return is_refusal

    def _refuse(self, content: dict[str, Any]) -> None:
        _logger.warning("MLflow will not take a record of kind %s: %s", content["kind"], content["reason"])
        path = refused_file(self.folder)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if (line := json.dumps(content)) not in lines:
            lines.append(line)
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        self._remember(refused=len(lines))

    def _remember(self, **changes: Any) -> None:
        self.state = write_state(self.folder, self.state, **changes)


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
