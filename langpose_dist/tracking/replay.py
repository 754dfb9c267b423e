"""Sends a run's journal to MLflow, in order, as often as it takes, with nothing twice.

Sending is repeatable: a run is found by the uid that it gave itself, a value that MLflow has already (name,
step, time stamp, number) is not stored again, files and tags replace themselves, and a registration finds
its own version. So after a lost answer or a crash the last records are simply sent once more.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from langpose_dist.config import UserError, load_config
from langpose_dist.host.redaction import redact
from langpose_dist.tracking.client import StoreAway, is_away, one_line
from langpose_dist.tracking.journal import (
    FOLDER,
    ORPHAN_SECONDS,
    Record,
    State,
    is_training,
    read_journal,
    sender_lock,
    state_for,
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
    log_dataset,
    log_metrics,
    log_params,
    log_tags,
    metric_name,
)

_logger = logging.getLogger(__name__)

_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "INVALID_STATE")
"""Of MLflow's error codes, those that asking again does not change."""
_MAX_BREAKDOWNS = 5
_LINK_SECONDS = 10.0
"""Between two looks for the run that this one belongs under."""
LOST = "the process ended without a word"


class _RunGone(Exception):
    """The run was deleted from the store."""


class Replay:
    """Sends one journal; at most one at a time per run.

    Args:
        client: From ``connect``.
        run_dir: The run's folder.
    """

    def __init__(self, client: MlflowClient, run_dir: Path) -> None:
        self._client = client
        self._run_dir = run_dir
        self._run: Run | None = None
        self._attempt = 0
        self._about: Mapping[str, Any] = {}
        self._is_open = False
        self._failures = (0, 0)
        self._looked_at = float("-inf")
        self.state = state_for(run_dir, redact(client.tracking_uri))

    @property
    def lost_attempt(self) -> int | None:
        """The attempt at the run that was opened last and not closed, among what has been sent."""
        return self._attempt if self._is_open else None

    def send(self, until: float = float("inf")) -> int:
        """Send what the journal holds and the store has not; returns the number of records.

        Args:
            until: When to leave the rest, in the time of ``time.monotonic``.

        Raises:
            StoreAway: If that time has come.
            Exception: Whatever MLflow raises where asking again may help; what was sent is remembered.
        """
        self._find_again()
        self._link_late()
        try:
            count = self._send(until)
        except _RunGone:  # deleted in the meantime: all of it again, as a new run
            _logger.warning("run %s was deleted from MLflow; it is sent anew", self.state.run_id)
            self._run = None
            self._remember(sent=0, run_id=None)
            count = self._send(until)
        if self.state.problem is not None:
            self._remember(problem=None, is_refused=False)
        return count

    def _send(self, until: float) -> int:
        count = 0
        for batch in _batches(read_journal(self._run_dir, self.state.sent)):
            if time.monotonic() > until:
                raise StoreAway("sending takes long")
            self._deliver(batch)
            self._remember(sent=batch[-1].end)
            count += len(batch)
        return count

    def close_lost(self, attempt: int | None = None) -> None:
        """End the last attempt if it is open: its process is gone and could not say so.

        Args:
            attempt: Only if it is this one, since a later one may have begun.
        """
        if self._is_open and self._run is not None and attempt in (None, self._attempt):
            now = datetime.now(UTC)
            self._close({"status": "FAILED", "reason": LOST, "time": int(now.timestamp() * 1000)})

    def cannot(self, error: Exception) -> None:
        """Remember why nothing can be sent, for those who look."""
        self._remember(problem=one_line(error), is_refused=not is_away(error))

    def _find_again(self) -> None:
        """The run as it stands in the store, and which attempt it is at."""
        if self._run is not None or not self.state.sent:
            return
        run = find_run(self._client, self.state.run_id) if self.state.run_id else None
        if run is None:
            _logger.warning("MLflow does not know run %s any more; it is sent anew", self.state.run_id)
            self._remember(sent=0, run_id=None)
            return
        self._run = run
        for record in read_journal(self._run_dir):
            if record.end > self.state.sent:
                break
            self._follow(record)

    def _follow(self, record: Record) -> None:
        if record.kind == "open":
            self._attempt, self._is_open = record.content["attempt"], True
            self._about = record.content["about"]
        elif record.kind == "close":
            self._is_open = False

    def _deliver(self, batch: Sequence[Record]) -> None:
        first = batch[0]
        try:
            self._apply(batch)
        except Exception as error:
            if first.kind == "open" or self._run is None or not self._is_refusal(first, error):
                raise
            if find_run(self._client, self._run.info.run_id) is None:
                raise _RunGone from None
            parts = [[record] for record in batch] if len(batch) > 1 else _values_apart(first)
            if len(parts) > 1:  # one bad value among good ones
                for part in parts:
                    self._deliver(part)
                return
            self._refuse(first, error)
        self._follow(batch[-1])

    def _is_refusal(self, record: Record, error: Exception) -> bool:
        """Whether a record is set aside, so that those after it come through."""
        if isinstance(error, UserError) or (
            isinstance(error, MlflowException) and error.error_code in _REFUSALS
        ):
            return True
        if record.kind not in ("register", "artifact"):
            return False  # the run's course: it waits until the store takes it
        if not is_away(error):
            return getattr(error, "error_code", "") != "UNAUTHENTICATED"
        # A store that answers all else and breaks down at this again and again.
        count = self._failures[1] + 1 if self._failures[0] == record.end else 1
        self._failures = record.end, count
        return count >= _MAX_BREAKDOWNS and find_run(self._client, self.state.run_id or "") is not None

    def _apply(self, batch: Sequence[Record]) -> None:
        record = batch[0]
        content = record.content
        if record.kind == "open":
            self._open(content)
            return
        if self._run is None:
            raise UserError("the journal says nothing of the run that this belongs to")
        run_id = self._run.info.run_id
        if record.kind == "metrics":
            log_metrics(self._client, run_id, [metric for part in batch for metric in _metrics(part.content)])
        elif record.kind == "abandon":
            self._abandon(content)
        elif record.kind == "artifact":
            self._send_artifact(run_id, content)
        elif record.kind == "tags":
            log_tags(self._client, run_id, {**content["tags"], **self._link(content["parent"])})
        elif record.kind == "register":
            self._register(run_id, record)
        elif record.kind == "close":
            self._close(content)

    def _open(self, content: Any) -> None:
        uid, tags = content["uid"], dict(content["tags"])
        run = find_run(self._client, self.state.run_id) if self.state.run_id else None
        if run is None:
            run = find_run_by_uid(self._client, uid)
        if run is None and content.get("run_id"):
            run = find_run(self._client, content["run_id"])
        if run is None:
            first = {
                **tags,
                RUN_UID: uid,
                "mlflow.user": content["user"],
                "mlflow.source.name": content.get("source", "langpose train"),
            }
            run = create_run(
                self._client,
                experiment=content["experiment"],
                name=content["run_name"],
                tags=first,
                time=content["time"],
            )
        self._run = run
        run_id = run.info.run_id
        self._remember(run_id=run_id)
        if self._is_open:  # the attempt before this one never said that it ended
            self._close({"status": "FAILED", "reason": LOST, "time": content["time"]})
        self._client.update_run(run_id, status="RUNNING")
        log_params(self._client, run, content["params"])
        tags |= self._links(content)
        tags |= {"attempts": str(content["attempt"]), RUN_UID: uid}
        tags[f"attempt.{content['attempt']}"] = _attempt_tag({"status": "RUNNING", **content["about"]})
        log_tags(self._client, run_id, tags)
        log_dataset(self._client, run_id, **content["dataset"])
        for name, text in content["texts"].items():
            self._client.log_text(run_id, text, name)

    def _links(self, content: Any) -> dict[str, str]:
        """Tags that lead to the runs that this one came from."""
        links = self._link(content.get("parent_run_id"))
        if uid := content.get("initial_weights", {}).get("run_uid"):
            source = find_run_by_uid(self._client, uid)
            links["initial_weights.run_uid"] = uid
            links["initial_weights.run_id"] = (
                source.info.run_id if source is not None else "not in this store"
            )
        return links

    def _link(self, parent: str | None) -> dict[str, str]:
        """Tags that put the run under another one, as far as the store knows that one by now."""
        if not parent:
            return {}
        links = self._links_to(parent)
        self._remember(unlinked=None if MLFLOW_PARENT_RUN_ID in links else parent)
        return links

    def _link_late(self) -> None:
        """Put the run under one that the store did not know before: its journal may come after this one."""
        parent = self.state.unlinked
        if self._run is None or parent is None or time.monotonic() < self._looked_at + _LINK_SECONDS:
            return
        links = self._links_to(parent)
        if MLFLOW_PARENT_RUN_ID not in links:
            return
        try:
            log_tags(self._client, self._run.info.run_id, links)
        except Exception as error:
            if is_away(error):
                raise
            _logger.warning("the run cannot be put under run %s now: %s", parent, one_line(error))
        else:
            self._remember(unlinked=None)

    def _links_to(self, parent: str) -> dict[str, str]:
        self._looked_at = time.monotonic()
        run = find_named_run(self._client, parent)
        found = {MLFLOW_PARENT_RUN_ID: run.info.run_id} if run is not None else {}
        return {PARENT_RUN: parent, **found}

    def _send_artifact(self, run_id: str, content: Any) -> None:
        path = self._run_dir / content["path"]
        if not path.exists():
            raise UserError(f"{path} is gone")
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        log(run_id, str(path), content["folder"] or None)

    def _register(self, run_id: str, record: Record) -> None:
        # With torch: most of a sender's life needs none of it.
        from langpose_dist.tracking.registry.registration import register_model

        content = record.content
        registered = register_model(
            self._client,
            run_id=run_id,
            weights=self._run_dir / content["weights"],
            config=load_config(self._run_dir / "config.yaml"),
            name=content["name"],
            alias=content["alias"],
            evaluation=content["evaluation"],
            tags=content["tags"],
            licence=content["licence"],
            parents=content["parents"],
        )
        self._remember(registered=registered, registered_at=record.end)

    def _close(self, content: Any) -> None:
        assert self._run is not None
        run_id = self._run.info.run_id
        ended = datetime.fromtimestamp(content["time"] / 1000, UTC).isoformat(timespec="seconds")
        end = {"status": content["status"], "ended": ended, "reason": content["reason"]}
        log_tags(self._client, run_id, {f"attempt.{self._attempt}": _attempt_tag({**self._about, **end})})
        self._client.set_terminated(run_id, content["status"], content["time"])

    def _abandon(self, content: Any) -> None:
        """End the run of an attempt that came to no step, was killed, and gave its folder to this run."""
        run = find_run_by_uid(self._client, content["uid"])
        if run is not None and run.info.status == "RUNNING":
            self._client.set_terminated(run.info.run_id, "FAILED", content["time"])

    def _refuse(self, record: Record, error: Exception) -> None:
        _logger.warning("MLflow will not take a record of kind %s: %s", record.kind, one_line(error))
        place = self._run_dir / FOLDER / "refused.jsonl"
        line = json.dumps({"reason": one_line(error), "kind": record.kind, **record.content})
        with place.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self._remember(refused=self.state.refused + 1)

    def _remember(self, **changes: Any) -> None:
        self.state = write_state(self._run_dir, self.state, **changes)


def replay(client: MlflowClient, run_dir: Path) -> tuple[int, State]:
    """Send all that a finished or broken-off run left unsent, and close it.

    Returns:
        How many records were sent, and the state after that.

    Raises:
        StoreAway: If the store does not answer.
        UserError: If the folder holds no recorded run, its training is still recording it, or the store does
            not take it now.
    """
    if not (run_dir / FOLDER / "journal.jsonl").exists():
        raise UserError(f"{run_dir} holds no journal of a run; name the output= folder of a training")
    try:
        with sender_lock(run_dir).acquire(timeout=ORPHAN_SECONDS + 2):
            return send_rest(client, run_dir)
    except Timeout:
        raise UserError(f"{run_dir}: its training is running and sends what it records itself") from None


def send_rest(client: MlflowClient, run_dir: Path, *, seconds: float = float("inf")) -> tuple[int, State]:
    """As ``replay``, for whoever holds the ``sender_lock``.

    Args:
        client: From ``connect``.
        run_dir: The run's folder.
        seconds: After which no further record is begun.
    """
    sending = Replay(client, run_dir)
    try:
        count = sending.send(time.monotonic() + seconds)
        if not is_training(run_dir):  # else its sender alone is gone
            sending.close_lost()
    except Exception as error:  # MLflow's, its drivers', the disk's
        sending.cannot(error)
        kind = StoreAway if is_away(error) else UserError
        raise kind(
            f"{run_dir}: the store does not take the rest now: {one_line(error)}; nothing is lost, "
            "send it again later"
        ) from None
    return count, sending.state


def _attempt_tag(about: Mapping[str, Any]) -> str:
    """As JSON that MLflow has room for."""
    return json.dumps(
        {key: str(value)[:500] if isinstance(value, str) else value for key, value in about.items()}
    )


def _values_apart(record: Record) -> list[list[Record]]:
    """A record of metrics as one of each value; any other as it is."""
    if record.kind != "metrics":
        return [[record]]
    return [
        [replace(record, content={**record.content, "values": {name: value}})]
        for name, value in record.content["values"].items()
    ]


def _metrics(content: Any) -> Iterator[Metric]:
    for name, value in content["values"].items():
        yield Metric(metric_name(name), value, content["time"], content["step"])


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Neighbouring records of metrics together, up to MLflow's limit; every other by itself."""
    batch: list[Record] = []
    size = 0
    for record in records:
        count = len(record.content["values"]) if record.kind == "metrics" else MAX_METRICS_PER_BATCH
        if batch and (record.kind != "metrics" or size + count > MAX_METRICS_PER_BATCH):
            yield batch
            batch, size = [], 0
        if record.kind != "metrics":
            yield [record]
            continue
        batch.append(record)
        size += count
    if batch:
        yield batch
