"""The start of a run: its folder made or checked, the model compiled, its record opened, all announced."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import Timeout

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.config.affects import EVALUATION, LENGTH, RUNTIME, keys_that_affect
from langpose_dist.host.atomic import write_text
from langpose_dist.models.kernels import measure_joint_attention, use_joint_attention
from langpose_dist.models.weights import initial_header
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.tracker import Tracker
from langpose_dist.tasks.task import Task
from langpose_dist.train.checkpoint import TrainState, find_checkpoint
from langpose_dist.train.distributed.processes import Processes
from langpose_dist.train.preflight import PreflightError, Prepared, check_folder

IN_HEADER = ("data_fingerprint", "config_hash", "commit", "dataset", "fps")
"""Entries of a run's origin that its weights carry."""
Resume = Literal["no", "yes", "if started"]
"""Whether a start goes on with the run in its folder."""
COMPILE_TIMEOUT_S = 1800.0
"""Longest time that compiling the model may take, beside the rest of the start."""
_LOCK_TIMEOUT_S = 15.0
"""Longest wait of a start for the previous job's lock."""


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


def will_resume(run_dir: Path | str, resume: Resume) -> bool:
    """True if a run is resumed, by what was asked for and what the folder holds."""
    return resume == "yes" or (resume == "if started" and RunFolder(run_dir).config.exists())


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
            check_folder(prepared.config, is_resumed=is_resumed)
            if is_resumed:
                path, state = _resume(prepared, run_dir, strict=strict)
                outcome = (path and str(path), vars(state))
            else:
                write_text(RunFolder(run_dir).config, prepared.config.to_yaml())
            RunFolder(run_dir).write_status("running", outcome[1].get("step", 0))
        except UserError as error:
            outcome = error
        except OSError as error:  # on every rank: the others would wait for rank 0
            outcome = UserError(f"{run_dir} cannot be written: {error.strerror or error}")
    outcome = processes.broadcast(outcome)
    if isinstance(outcome, UserError):
        raise PreflightError(str(outcome))
    path, state = outcome
    return None if path is None else Path(path), TrainState(**state)


def _resume(prepared: Prepared, run_dir: Path, *, strict: bool) -> tuple[Path | None, TrainState]:
    config, fingerprint = prepared.config, prepared.corpus.manifest.fingerprint
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
    write_text(RunFolder(run_dir).config, config.to_yaml())
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


def choose_kernels(task: Task, prepared: Prepared, processes: Processes) -> None:
    """Take the fastest kernels of rank 0's device on every rank, and say which."""
    task.to(processes.device)
    is_fused, told = False, ""
    if processes.is_main:
        is_fused, told = measure_joint_attention(
            task,
            num_windows=prepared.micro_batch_size,
            num_frames=prepared.config.window.num_frames,
            device=processes.device,
            dtype=task.autocast,
        )
    if told:
        print(told, flush=True)
    use_joint_attention(task, is_fused=processes.broadcast(is_fused))


def compile_task(task: Task, prepared: Prepared, processes: Processes) -> None:
    """Compile the training step, while nothing is lost if the run is asked to stop."""
    task.compile(mode=prepared.config.model.compile_mode)
    if processes.is_main:
        print("compiling the model: a minute or more, then kept in torch's cache on this machine", flush=True)
    started = time.monotonic()
    windows = prepared.corpus.training_set[[(0, 0)] * prepared.micro_batch_size]
    if isinstance(windows, UserError):
        raise windows
    terms = task.to(processes.device).train()(windows.to(processes.device))
    torch.stack([values.mean() for values in terms.values()]).sum().backward()
    task.zero_grad(set_to_none=True)
    if processes.is_main:
        print(f"compiled in {time.monotonic() - started:.0f} s", flush=True)


def announce(prepared: Prepared, processes: Processes, state: TrainState) -> None:
    """Print what is trained, on what, and from which step."""
    config, corpus = prepared.config, prepared.corpus
    print(
        f"{len(corpus.training_set)} windows of {corpus.manifest.dataset} "
        f"({corpus.manifest.fingerprint[:16]}), {len(corpus.vocabulary)} labels; "
        f"{prepared.num_steps} steps of {config.train.global_batch_size} windows "
        f"on {processes.world_size} x {processes.describe_device()}",
        flush=True,
    )
    for note in prepared.task.notes(config, corpus):
        print(note, flush=True)
    if config.data.order == "streaming":
        print(
            "data.order=streaming: windows are not seen exactly once per epoch, nor resumed exactly",
            flush=True,
        )
    if state.step:
        print(f"resuming after step {state.step}", flush=True)


def open_record(
    run_dir: Path, environment: Mapping[str, str], tracker: Tracker, processes: Processes
) -> dict[str, str]:
    """Wait until the tracking store has the run; returns what the exported weights say of it."""
    error: UserError | None = None
    record: dict[str, str] = {}
    if processes.is_main:
        try:
            tracker.opened()
        except UserError as problem:
            error = problem
        else:
            record = tracker.record
            RunFolder(run_dir).write_record(record, environment)
    record, error = processes.broadcast((record, error))
    if error is not None:
        raise PreflightError(str(error))
    return {name: record[name] for name in ("run_uid",) if name in record}


def origin_of(initial_weights: str | None) -> dict[str, str]:
    """Header entries of the initial weights about their run."""
    header = initial_header(initial_weights)
    return {name: header[name] for name in ("run_uid", *IN_HEADER) if name in header}
