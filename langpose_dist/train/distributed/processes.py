"""Joining the processes of one run: ranks, devices, threads and the few collectives that training needs."""

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store
from torch.distributed.rendezvous import rendezvous

from langpose_dist.config import ConfigError, TrainConfig, UserError

_FAREWELL_SECONDS = 5.0
_LAUNCHED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Layout:
    """Where this process stands among those that a launcher started; known before anything is joined."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    """Ranks on this node."""
    is_launched: bool
    """False for a process that trains alone."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the launcher's variables.

        Raises:
            ConfigError: If some of them are missing.
        """
        missing = [name for name in _LAUNCHED if name not in os.environ]
        if missing and len(missing) < len(_LAUNCHED) and "WORLD_SIZE" in os.environ:
            raise ConfigError(f"the launcher set WORLD_SIZE but not {', '.join(missing)}")
        if missing:
            return cls(rank=0, world_size=1, local_rank=0, local_size=1, is_launched=False)
        # Torchrun's name, DeepSpeed's name, and one node.
        names = ("LOCAL_WORLD_SIZE", "LOCAL_SIZE", "WORLD_SIZE")
        local = next(name for name in names if name in os.environ)
        rank, world_size, local_rank, local_size = (int(os.environ[name]) for name in (*_LAUNCHED[:3], local))
        return cls(rank, world_size, local_rank, local_size, is_launched=True)

    @property
    def is_first_of_node(self) -> bool:
        """This rank looks after what a node needs once."""
        return self.local_rank == 0

    @property
    def name(self) -> str:
        """Rank and node, for messages."""
        return f"rank {self.rank} ({socket.gethostname()})"


class Meeting:
    """Where ranks exchange plain data before any device or process group is in use.

    Raises:
        UserError: If the ranks do not find each other within ``timeout`` seconds.
    """

    def __init__(self, layout: Layout, timeout: float) -> None:
        self.layout = layout
        self._timeout = timedelta(seconds=timeout)
        self._round = 0
        if not layout.is_launched:
            # A store within the process: nothing listens on any port.
            self.store: Store = HashStore()
            return
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        try:
            self.store, _, _ = next(rendezvous("env://", timeout=self._timeout))
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"{layout.name} could not meet the other {layout.world_size - 1} ranks at {place} within "
                f"{timeout:g} s ({str(error).splitlines()[0][:120]}); are all of them started, can this node "
                "reach that address, is the port free?"
            ) from None

    def gather(self, value: Any, *, timeout: float | None = None) -> list[Any]:
        """Every rank's value, in rank order; what JSON can hold.

        Raises:
            UserError: If a rank does not answer within ``timeout`` seconds, by default those of the meeting.
        """
        self._round += 1
        size = self.layout.world_size
        keys = [f"langpose/{self._round}/{rank}" for rank in range(size)]
        self.store.set(keys[self.layout.rank], json.dumps(value))
        seconds = self._timeout.total_seconds() if timeout is None else timeout
        deadline = time.monotonic() + seconds
        try:
            while missing := [rank for rank, key in enumerate(keys) if not self.store.check([key])]:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"ranks {', '.join(map(str, missing))} did not come within {seconds:g} s; "
                        "look at their own output"
                    )
                time.sleep(0.05)
            return [json.loads(self.store.get(key)) for key in keys]
        except RuntimeError:
            raise UserError("rank 0, where the ranks meet, has left; look at its output") from None

    def part(self, timeout: float) -> None:
        """Wait until rank 0 comes here too; ranks that leave before it would take it along."""
        rank, others = self.layout.rank, range(1, self.layout.world_size)
        # Rank 0 may be the one that keeps the store, so it sees that the others have heard.
        expected = [f"langpose/parted/{other}" for other in others] if rank == 0 else ["langpose/parted/0"]
        seconds = _FAREWELL_SECONDS if rank == 0 else timeout
        try:
            if rank == 0:
                self.store.set("langpose/parted/0", "")
            deadline = time.monotonic() + seconds
            while others and not self.store.check(expected) and time.monotonic() < deadline:
                time.sleep(0.05)
            if rank > 0:
                self.store.set(f"langpose/parted/{rank}", "")
        except RuntimeError:
            return  # the store is gone, and its keeper with it


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int
    world_size: int
    device: torch.device
    control: Any = None
    """Group for small messages between processors, beside the group that gradients use."""

    @property
    def is_main(self) -> bool:
        """Rank 0 writes files and talks to people."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def highest(self, value: int) -> int:
        """The highest of all ranks' values; waits for the ranks, not for any GPU."""
        if self.world_size == 1:
            return value
        box = torch.tensor([value])
        dist.all_reduce(box, dist.ReduceOp.MAX, group=self.control)
        return int(box)

    def total(self, values: Sequence[int]) -> list[int]:
        """Sums of small numbers over all ranks; waits for the ranks, not for any GPU."""
        if self.world_size == 1 or not values:
            return list(values)
        box = torch.tensor(values)
        dist.all_reduce(box, group=self.control)
        return box.tolist()

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order; plain data only."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value on every rank; plain data only."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def describe_device(self) -> str:
        """The device's name."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"


def choose_device(config: TrainConfig, local_rank: int) -> torch.device:
    """The device of this process; none is touched.

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


def share_cores(config: TrainConfig, layout: Layout) -> None:
    """Give each rank of a node its share of the cores, or as many threads as are configured."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.num_threads or max(1, cores // layout.local_size))


def join_processes(config: TrainConfig, meeting: Meeting | None = None) -> Processes:
    """Join the launcher's other ranks, or stand alone where no launcher started this process.

    Args:
        config: Device, threads and waiting times.
        meeting: Where the ranks have met already.

    Raises:
        ConfigError: If the asked device does not exist or the launcher's variables are incomplete.
        UserError: If the ranks do not find each other.
    """
    meeting = meeting or Meeting(Layout.from_environment(), config.start_timeout)
    layout = meeting.layout
    device = choose_device(config, layout.local_rank)
    _import_deepspeed(device)

    if device.type == "cuda":
        torch.cuda.set_device(device)
    share_cores(config, layout)

    # A hung rank is found and named by the watchdog; this is for what the watchdog cannot see.
    timeout = timedelta(seconds=config.hang_timeout + 300)
    if not dist.is_initialized():
        if not layout.is_launched:
            os.environ["LOCAL_RANK"] = "0"  # DeepSpeed asks for it
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=meeting.store,
            rank=layout.rank,
            world_size=layout.world_size,
            timeout=timeout,
        )
    control = dist.new_group(backend="gloo", timeout=timeout) if layout.world_size > 1 else None
    return Processes(layout.rank, layout.world_size, device, control)


def leave_processes() -> None:
    """Close the process group; of ranks that are gone already nothing is said."""
    if dist.is_initialized():
        with contextlib.suppress(RuntimeError):
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
