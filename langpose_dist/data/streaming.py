"""Windows in the order of shuffled shards, for a corpus larger than a node's disk.

Plain WebDataset: shards are drawn with replacement, read from front to end without being kept, and their
windows mixed in a buffer. Neither exact nor resumable: some windows come more often than others, and a
resumed run does not see what the interrupted one would have seen.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from langpose_dist.batch import WindowBatch
from langpose_dist.config import UserError
from langpose_dist.data.dataset import Request, WindowDataset
from langpose_dist.data.draws import Draw, generator

Item = tuple[Request, np.ndarray]
"""A window with the visit of its shard, and its frames."""


@dataclass(eq=False)
class StreamingWindows(IterableDataset["WindowBatch | UserError"]):
    """Endless micro batches of one rank; every worker draws its own shards.

    A mistake in the data comes as the exception itself, as from ``WindowDataset``.
    """

    dataset: WindowDataset
    """Its windows, reader and draws."""
    _: KW_ONLY
    seed: int
    """Decides shards and shuffling."""
    position: int
    """Samples of the run that are used up; another position draws other shards."""
    micro_batch_size: int
    """Windows per batch."""
    shuffle_buffer: int
    """Windows that are held for mixing."""
    rank: int
    """This process."""
    world_size: int
    """Number of processes."""

    def __iter__(self) -> Iterator[WindowBatch | UserError]:
        from webdataset import filters
        from webdataset.pipeline import DataPipeline

        worker = get_worker_info()
        # One number per rank and worker, whatever the number of workers.
        stream = self.rank + self.world_size * (worker.id if worker else 0)
        pipeline = DataPipeline(
            lambda: self._windows(stream),
            filters.shuffle(self.shuffle_buffer, initial=self.shuffle_buffer, seed=self.seed + stream),
            filters.batched(self.micro_batch_size, collation_fn=list, partial=False),
            filters.map(self._assemble),
        )
        try:
            yield from pipeline
        except UserError as error:
            yield error

    def _windows(self, stream: int) -> Iterator[Item]:
        """Windows shard by shard, each visit of a shard being an epoch of its own."""
        numbers: dict[tuple[int, str], list[int]] = {}
        for number, window in enumerate(self.dataset.windows):
            numbers.setdefault((window.shard, window.key), []).append(number)
        shards = sorted({shard for shard, _ in numbers})
        rng = generator(self.seed, self.position, stream, Draw.ORDER)
        while True:
            shard = shards[int(rng.integers(len(shards)))]
            visit = int(rng.integers(2**63))
            for sample in self.dataset.reader.iter_samples(shard):
                for number in numbers[shard, sample.key]:
                    window = self.dataset.windows[number]
                    yield (visit, number), sample.poses_3d[window.start : window.stop]

    def _assemble(self, items: list[Item]) -> WindowBatch:
        requests, poses = zip(*items, strict=True)
        return self.dataset.assemble(requests, poses)
