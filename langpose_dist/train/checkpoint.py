"""Writing and reading a run's checkpoints through the engine.

A checkpoint is a folder ``step-00001000`` of the engine's files and one ``state.json``. The file is
written last: a folder without it is an interrupted write and is never read.
"""

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from langpose_dist.config import UserError
from langpose_dist.train.processes import Processes

_STATE = "state.json"

# What reading a file that is cut, overwritten or missing raises within the engine.
_DAMAGE = (OSError, RuntimeError, ValueError, EOFError, KeyError, AssertionError, pickle.UnpicklingError)


@dataclass(frozen=True)
class TrainState:
    """Where a run stands; with the engine's files it is all that going on needs."""

    step: int
    """Optimizer updates done."""
    position: int
    """Samples of the training stream that are used up."""
    world_size: int
    """Ranks that wrote the checkpoint."""
    zero_stage: int
    """How the optimizer state is sharded."""
    data_fingerprint: str
    """Of the data that the position counts in."""


def save_checkpoint(engine: Any, folder: Path, state: TrainState, processes: Processes, *, keep: int) -> Path:
    """Write a checkpoint and remove the oldest beyond ``keep``; all ranks call it.

    Returns:
        The checkpoint's folder.
    """
    target = folder / f"step-{state.step:08d}"
    engine.save_checkpoint(str(folder), tag=target.name, save_latest=False, exclude_frozen_parameters=True)
    if processes.world_size > 1:
        dist.barrier()
    if processes.is_main:
        partial = target / (_STATE + ".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(asdict(state), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target / _STATE)
        for old, _ in find_checkpoints(folder)[:-keep]:
            (old / _STATE).unlink()
            shutil.rmtree(old)
    return target


def find_checkpoints(folder: Path) -> list[tuple[Path, TrainState]]:
    """Complete checkpoints, oldest first."""
    found: list[tuple[Path, TrainState]] = []
    for file in folder.glob(f"step-*/{_STATE}"):
        try:
            found.append((file.parent, TrainState(**json.loads(file.read_text(encoding="utf-8")))))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda item: item[1].step)


def load_checkpoint(engine: Any, checkpoint: Path, state: TrainState, processes: Processes) -> None:
    """Put weights, optimizer and schedule back; all ranks call it.

    Raises:
        UserError: If the checkpoint was written by another number of ranks with a sharded optimizer, or
            cannot be read.
    """
    zero_stage = engine.zero_optimization_stage()
    if state.zero_stage != zero_stage or (zero_stage > 0 and state.world_size != processes.world_size):
        raise UserError(
            f"checkpoint {checkpoint} was written with ZeRO stage {state.zero_stage} on {state.world_size} "
            f"ranks; this run has stage {zero_stage} on {processes.world_size}; resume with the former"
        )
    with _data_only():
        try:
            found, _ = engine.load_checkpoint(str(checkpoint.parent), tag=checkpoint.name)
        except _DAMAGE as error:
            raise UserError(
                f"checkpoint {checkpoint} cannot be read ({_first_line(error)}); "
                "remove its folder to go on from the one before"
            ) from error
    if found is None:
        raise UserError(
            f"checkpoint {checkpoint} has no weights; remove its folder to go on from the one before"
        )


@contextmanager
def _data_only() -> Iterator[None]:
    """Let torch.load, which the engine calls as it likes, build tensors and plain values only."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with torch.serialization.safe_globals(
            [LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]
        ):
            yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
