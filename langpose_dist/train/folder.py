"""A run's folder at the start: made for a fresh run, or checked for one that is resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import Timeout

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.config.affects import EVALUATION, LENGTH, RUNTIME, keys_that_affect
from langpose_dist.host.atomic import write_text
from langpose_dist.runs.folder import RunFolder
from langpose_dist.train.checkpoint import TrainState, checkpoint_folders, find_checkpoint
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.preflight import PreflightError, Prepared

_LOCK_TIMEOUT_S = 15.0
"""How long start-up waits for the previous job's lock."""


@contextmanager
def locked_folder(run_dir: Path, processes: Processes) -> Iterator[None]:
    """Hold the run's folder for this job alone.

    Raises:
        PreflightError: On every rank, if another job holds it.
    """
    lock = RunFolder(run_dir).lock(_LOCK_TIMEOUT_S)
    problem = ""
    if processes.is_main:
        try:
            lock.acquire()
        except Timeout:
            problem = f"{run_dir}: another job is training there; stop it first, or choose another output="
    try:
        if problem := processes.broadcast(problem):
            raise PreflightError(problem)
        yield
    finally:
        lock.release()


def is_started(run_dir: Path) -> bool:
    """True if the folder holds a run."""
    return RunFolder(run_dir).config.exists()


def open_folder(
    prepared: Prepared, processes: Processes, *, is_resumed: bool, strict: bool
) -> tuple[Path | None, TrainState]:
    """Make or check the folder on rank 0.

    Returns:
        Checkpoint to resume from, if there is one, and where the run stands; on every rank.

    Raises:
        PreflightError: On every rank, if the folder or its run do not allow it.
    """
    run_dir = Path(prepared.config.output)
    outcome: tuple[str | None, dict[str, Any]] | UserError = (None, {})
    if processes.is_main:
        try:
            if is_resumed:
                path, state = _resume(prepared, run_dir, strict=strict)
                outcome = (path and str(path), vars(state))
            else:
                _start(prepared.config, run_dir)
            RunFolder(run_dir).write_status("running", outcome[1].get("step", 0))
        except UserError as error:
            outcome = error
    outcome = processes.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise PreflightError(str(outcome))
    path, state = outcome
    return None if path is None else Path(path), TrainState(**state)


def _start(config: RunConfig, run_dir: Path) -> None:
    # A run that ended before its first line of metrics left nothing worth keeping.
    folder = RunFolder(run_dir)
    if folder.metrics.exists() or checkpoint_folders(folder.checkpoints):
        raise UserError(f"{run_dir} already holds a run; resume with --resume or choose another output=")
    _write_config(config, run_dir)


def _resume(prepared: Prepared, run_dir: Path, *, strict: bool) -> tuple[Path | None, TrainState]:
    config, fingerprint = prepared.config, prepared.corpus.manifest.fingerprint
    if not is_started(run_dir):
        raise UserError(f"{run_dir} holds no run to resume; leave out --resume")
    before = load_config(RunFolder(run_dir).config)
    _refuse_changes(before, config)
    path, state = find_checkpoint(RunFolder(run_dir).checkpoints, strict=strict) or (None, TrainState())
    if path is None:
        print(f"{run_dir} has no checkpoint yet; starting from step 0", flush=True)
    elif state.data_fingerprint != fingerprint:
        raise UserError(
            f"{path} was trained on data {state.data_fingerprint[:16]}, data.path={config.data.path} is "
            f"{fingerprint[:16]}; resume with the same data"
        )
    if _evaluation_keys(before) != _evaluation_keys(config):
        state = replace(state, best_step=None, best_value=None)  # numbers of another evaluation
    _write_config(config, run_dir)
    return path, state


def _refuse_changes(before: RunConfig, config: RunConfig) -> None:
    may_change = keys_that_affect(type(config), RUNTIME, LENGTH, EVALUATION)
    old = before.to_flat()
    for key, value in config.to_flat().items():
        if old[key] != value and key not in may_change:
            raise UserError(
                f"--resume: {key} was {old[key]!r} and is now {value!r}; start a new run for that"
            )


def _evaluation_keys(config: RunConfig) -> dict[str, Any]:
    keys = keys_that_affect(type(config), EVALUATION)
    return {key: value for key, value in config.to_flat().items() if key in keys}


def _write_config(config: RunConfig, run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_text(RunFolder(run_dir).config, config.to_yaml())
    except OSError as error:
        raise UserError(f"output={run_dir} cannot be written: {error.strerror or error}") from None
