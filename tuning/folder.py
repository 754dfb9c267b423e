"""A sweep's folder: whose it is, what it began with, and ``sweep.json``, the record of all its attempts."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from langpose_dist.config import UserError
from langpose_dist.config.affects import RUNTIME, keys_that_affect
from langpose_dist.host.atomic import write_record
from langpose_dist.host.paths import make_folder
from langpose_dist.report.sweep import TrialRecord
from langpose_dist.report.sweep.records import FORMAT
from langpose_dist.report.sweep.records import SWEEP_FILE as RECORD_FILE
from langpose_dist.runs.folder import RunFolder
from langpose_dist.train.evaluate import SOURCES_2D
from tuning.plan import Plan
from tuning.schedulers import rungs
from tuning.settings import SWEEP_FILE, Sweep, load_sweep

STATE_FOLDER = "ray"
"""In the sweep's folder: Ray Tune's own files, which are never read, and the scheduler's memory."""
_LOCK_TIMEOUT_S = 15.0
_ROOM = 4000
"""Bytes that the record keeps free for its last words on a full disk."""
_FREE = frozenset({"sweep.max_concurrent", "sweep.max_failures"})
"""Keys of the sweep that a resumed one may change, besides those of its runs that change no result."""
_HELD = frozenset(
    {
        *("output", "tracking.enabled", "tracking.uri", "tracking.experiment", "tracking.run_name"),
        *("train.evaluate_every", "train.best_metric", "train.device"),
    }
)
"""Keys that change no result of a run, but by which trials are compared or found."""


@contextmanager
def held(output: Path) -> Iterator[None]:
    """Have the sweep's folder to this process alone.

    Raises:
        UserError: If another sweep has it.
    """
    make_folder(output)
    try:
        with RunFolder(output).lock(_LOCK_TIMEOUT_S):
            yield
    except Timeout:
        raise UserError(f"{output}: another sweep is running there; stop it first") from None


def holds_sweep(output: Path) -> bool:
    """True if a sweep has begun there."""
    return (output / RECORD_FILE).exists()


def check_folder(plan: Plan, *, resume: bool) -> None:
    """Check that the folder is new, or holds the sweep that is to be resumed.

    Raises:
        UserError: If not.
    """
    output = plan.output
    if not resume:
        if holds_sweep(output):
            raise UserError(f"{output} already holds a sweep; resume with --resume or choose another output=")
        return
    if not holds_sweep(output):
        raise UserError(f"{output} holds no sweep to resume; leave out --resume")
    before, now = (_flat(sweep) for sweep in (load_sweep([output / SWEEP_FILE]), plan.sweep))
    data, origin = plan.corpus.manifest.fingerprint, read_record(output).get("origin", {})
    before["data fingerprint"], now["data fingerprint"] = origin.get("data_fingerprint", data), data
    may_change = keys_that_affect(type(plan.sweep.config), RUNTIME) - _HELD | _FREE
    for key in sorted({*before, *now} - may_change):
        if before.get(key) != now.get(key):
            raise UserError(
                f"--resume: {key} was {before.get(key)!r} and is now {now.get(key)!r}; leave it as it was "
                "(without --config all is), or start a new sweep with another output="
            )


def _flat(sweep: Sweep) -> dict[str, Any]:
    settings = {f"sweep.{key}": value for key, value in sweep.settings.model_dump(mode="json").items()}
    return sweep.config.to_flat() | settings


def read_record(output: Path) -> dict[str, Any]:
    """Content of ``sweep.json``.

    Raises:
        UserError: If it is damaged.
    """
    path = output / RECORD_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"{path} is damaged; start a new sweep with another output=")
    return record


class SweepRecord:
    """``sweep.json`` while an attempt runs; a resumed one continues the record of those before."""

    def __init__(self, plan: Plan, environment: dict[str, Any], *, is_resumed: bool) -> None:
        self._path = plan.output / RECORD_FILE
        self._counted_until = time.monotonic()
        before = read_record(plan.output) if is_resumed else {}
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
            "tracking": {},
            "best": None,
            "confirm": [],
            **before,
            "attempts": before.get("attempts", 0) + 1,
            **_describe(plan, environment),
        }

    @property
    def confirm(self) -> list[TrialRecord]:
        """Trials of the confirm stage, once it has begun."""
        return [TrialRecord.model_validate_json(json.dumps(trial)) for trial in self.content["confirm"]]

    def write(self, **changes: Any) -> None:
        """Change some values, and write all of them."""
        now = time.monotonic()
        self.content |= changes
        self.content["seconds"] += now - self._counted_until
        self._counted_until = now
        write_record(self._path, self.content, room=_ROOM)

    def write_if_begun(self, **changes: Any) -> None:
        """Write changes unless the attempt ended before its first record."""
        if self._path.exists():
            self.write(**changes)


def _describe(plan: Plan, environment: dict[str, Any]) -> dict[str, Any]:
    sweep, manifest = plan.sweep, plan.corpus.manifest
    settings = sweep.settings.model_dump(mode="json")
    names = ("objective", "searcher", "seed", "scheduler", "seeds", "finalists", "resources")
    return {
        "status": "running",
        "reason": "",
        **{name: settings[name] for name in names},
        "split": sweep.config.data.validation_split,
        "rungs": rungs(sweep),
        "num_steps": sweep.config.train.max_steps,
        "evaluate_every": sweep.config.train.evaluate_every,
        "planned": plan.num_trials,
        "space": sweep.space.to_dict(),
        "max_concurrent": None,
        "origin": {
            "dataset": manifest.dataset,
            "fps": manifest.fps,
            "data_fingerprint": manifest.fingerprint,
            "config_hash": sweep.config.hash(),
            "commit": environment["git_commit"],
            "commit_dirty": environment["git_dirty"],
            "source_2d": SOURCES_2D[plan.sweep.config.data.observation],
        },
        "environment": environment,
    }
