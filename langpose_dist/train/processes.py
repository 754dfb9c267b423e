"""Joining the processes of one run: ranks, devices, threads and the few collectives that training needs."""

import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

from langpose_dist.config import ConfigError, TrainConfig

_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Rank 0 writes files and talks to people."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order; plain data only."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value on every rank; plain data only."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def describe_device(self) -> str:
        """The device's name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"


def choose_device(config: TrainConfig, local_rank: int) -> torch.device:
    """The device of this process.

    Raises:
        ConfigError: If a GPU is asked for and there is none for this rank.
    """
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"train.device={config.device}: rank {local_rank} of this node has no GPU, "
            f"{torch.cuda.device_count()} are visible; start fewer processes or set train.device=cpu"
        )
    return torch.device("cuda", local_rank)


def join_processes(config: TrainConfig) -> Processes:
    """Join the launcher's other ranks, or stand alone where no launcher started this process.

    Raises:
        ConfigError: If the asked device does not exist or the launcher's variables are incomplete.
    """
    launched = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in launched if name not in os.environ]
    if missing and len(missing) < len(launched) and "WORLD_SIZE" in os.environ:
        raise ConfigError(f"the launcher set WORLD_SIZE but not {', '.join(missing)}")
    local_rank = 0 if missing else int(os.environ["LOCAL_RANK"])
    device = choose_device(config, local_rank)
    _import_deepspeed(device)

    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        # Torchrun's name, DeepSpeed's name, and one node.
        names = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE", "WORLD_SIZE")
        local_size = 1 if missing else int(next(os.environ[name] for name in names if name in os.environ))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(config.num_threads or max(1, cores // local_size))

    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        if missing:
            os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it
            # A store within the process: nothing listens on any port.
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=_TIMEOUT)
        else:
            dist.init_process_group(backend, timeout=_TIMEOUT)
    return Processes(rank=dist.get_rank(), world_size=dist.get_world_size(), device=device)


def leave_processes() -> None:
    """Close the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _import_deepspeed(device: torch.device) -> None:
    """Import DeepSpeed for the device in use, quietly and without a need for a compiler."""
    if device.type == "cpu":
        # Else it takes a GPU that is there but not wanted.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed.ops

    # Its shared-memory collective is compiled at start; without it gloo does the same, a little slower.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
