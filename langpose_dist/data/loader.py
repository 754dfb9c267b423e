"""Exact training stream and evaluation order, dealt to ranks and read by worker processes.

The stream is endless and has one position p: its sample p is window ``permutation(seed, p // N)[p % N]``
of the N windows. Every window comes once per epoch, batches may straddle epochs, nothing is dropped or
padded. The position is the loader's whole state and means the same for any number of ranks, workers and
any batch size.
"""

import logging
import re
import signal
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from langpose_dist.batch import WindowBatch
from langpose_dist.config import UserError
from langpose_dist.data.dataset import Request, WindowDataset
from langpose_dist.data.draws import EVALUATION_EPOCH, Draw, generator
from langpose_dist.data.streaming import StreamingWindows
from langpose_dist.data.worker import belong_to_parent

_logger = logging.getLogger(__name__)

MAX_WORKER_LOSSES = 3
"""Lost workers that are replaced in a row, without a batch in between."""


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, num_windows: int) -> np.ndarray:
    """Order of the windows in one epoch."""
    return generator(seed, epoch, 0, Draw.ORDER).permutation(num_windows)


def stream_request(seed: int, position: int, num_windows: int) -> Request:
    """(epoch, window number) at a position of the training stream."""
    epoch, offset = divmod(position, num_windows)
    return epoch, int(permutation(seed, epoch, num_windows)[offset])


@dataclass(frozen=True)
class TrainingStream:
    """One rank's requests: endless, one list per micro step, from any position on.

    Ranks take turns within each global batch, so the batch holds the same windows however many ranks and
    micro steps share it.

    Raises:
        ValueError: If ranks and micro batches do not divide the global batch.
    """

    num_windows: int
    """Windows in the split (N)."""
    _: KW_ONLY
    seed: int
    """Seed of every epoch's order."""
    position: int
    """First sample of the stream; any number."""
    global_batch_size: int
    """Windows per step over all ranks and micro steps."""
    micro_batch_size: int
    """Windows per rank and micro step."""
    rank: int
    """Rank of this process."""
    world_size: int
    """Number of processes."""

    def __post_init__(self) -> None:
        if self.global_batch_size % (self.micro_batch_size * self.world_size):
            raise ValueError(
                f"global_batch_size={self.global_batch_size} must be a multiple of micro_batch_size="
                f"{self.micro_batch_size} times {self.world_size} ranks"
            )

    def __iter__(self) -> Iterator[list[Request]]:
        first = self.position
        while True:
            mine = range(first + self.rank, first + self.global_batch_size, self.world_size)
            for start in range(0, len(mine), self.micro_batch_size):
                yield [
                    stream_request(self.seed, position, self.num_windows)
                    for position in mine[start : start + self.micro_batch_size]
                ]
            first += self.global_batch_size


def evaluation_requests(num_windows: int, batch_size: int, rank: int, world_size: int) -> list[list[Request]]:
    """Batches of one rank in an evaluation that sees every window exactly once.

    Every rank gets the same number of batches of the same size, as a sharded model's forward pass needs
    all ranks; the last batches are filled up with requests of number -1.
    """
    per_rank = -(-num_windows // world_size)
    mine = list(range(rank, num_windows, world_size))
    num_batches = -(-per_rank // batch_size)
    mine += [-1] * (num_batches * batch_size - len(mine))
    return [
        [(EVALUATION_EPOCH, number) for number in mine[start : start + batch_size]]
        for start in range(0, len(mine), batch_size)
    ]


def load_batches(
    dataset: WindowDataset | StreamingWindows,
    requests: Iterable[list[Request]] | None,
    *,
    num_workers: int,
    pin_memory: bool = False,
) -> Generator[WindowBatch, None, None]:
    """Read batches in the order of the requests, ahead of their use.

    After a worker was killed, all workers are restarted from the first missing batch.

    Args:
        dataset: Source of the batches.
        requests: One list per batch, may be endless; ``None`` for ``StreamingWindows``.
        num_workers: Reading processes; 0 reads in this one.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.

    Raises:
        UserError: If a shard is missing, damaged or differs from the manifest.
    """
    num_read = losses = 0
    while True:
        left = None if requests is None else islice(requests, num_read, None)
        batches = _worker_batches(dataset, left, num_workers=num_workers, pin_memory=pin_memory)
        try:
            for batch in batches:
                num_read, losses = num_read + 1, 0
                yield batch
            return
        except _WorkerLost as lost:
            losses += 1
            if losses > MAX_WORKER_LOSSES:
                raise UserError(
                    f"{lost}, {losses} times without a batch in between; is there memory enough? "
                    "set data.num_workers=0 to read in the training process"
                ) from None
            # As text: a log record that is kept would keep the old loader and its workers alive.
            _logger.warning("%s; its work is given to a new one", str(lost))


class _WorkerLost(Exception):
    """Raised when a loader process has died."""


def _worker_batches(
    dataset: Dataset[Any], requests: Iterable[list[Request]] | None, *, num_workers: int, pin_memory: bool
) -> Generator[WindowBatch, None, None]:
    # Without a batch size of its own every item is a whole batch: crossing the process boundary is what
    # costs, so batches cross it, not windows.
    batches: Iterable[WindowBatch | UserError] = DataLoader(
        dataset,
        batch_size=None,
        sampler=requests,
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=belong_to_parent,
    )
    before = signal.getsignal(signal.SIGCHLD)
    iterator = iter(batches)
    if threading.current_thread() is threading.main_thread():
        # torch's handler raises an error wherever the process happens to be when a worker dies, even in
        # mid-step. torch also checks its workers whenever it waits for a batch, which is enough.
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)
    try:
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if not re.search("DataLoader worker|Pin memory thread exited", str(error)):
                    raise
                raise _WorkerLost(str(error).splitlines()[0]) from None
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                if num_workers == 0:
                    raise
                # Batches that a killed worker had finished were in its memory and are lost.
                raise _WorkerLost(f"a DataLoader worker is gone: {error}") from None
            if isinstance(batch, UserError):
                raise batch
            yield batch
    finally:
        # An error's traceback would keep the iterator until garbage collection, which closes the workers'
        # queues before torch can end them: ten seconds of waiting for each.
        del iterator


def _as_it_is(batch: Any) -> Any:
    return batch
