"""Windows in the order of shuffled shards, for a corpus larger than a node's disk.

Plain WebDataset: shards are drawn with replacement, read from front to end without being kept, and their
windows mixed in a buffer. Neither exact nor resumable: some windows come more often than others, and a
resumed run does not see what the interrupted one would have seen.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass

from torch.utils.data import IterableDataset, get_worker_info

from langpose_dist.batch import WindowBatch
from langpose_dist.config import UserError
from langpose_dist.data.dataset import Frames, Request, WindowDataset
from langpose_dist.data.draws import Draw, generator
from langpose_dist.data.sample import DataError, Sample
from langpose_dist.data.windows import Window

Item = tuple[Request, Frames]
"""A window with the visit of its shard, and its frames."""


@dataclass(eq=False)
class StreamingWindows(IterableDataset["WindowBatch | UserError"]):
    """Endless micro batches of one rank; every worker draws its own shards.

    An error in the data is returned as the exception itself, as by ``WindowDataset``.
    """

    dataset: WindowDataset
    """Source of windows, frames and draws."""
    _: KW_ONLY
    seed: int
    """Seed of the choice of shards and of shuffling."""
    position: int
    """Samples of the run already used; another position draws other shards."""
    micro_batch_size: int
    """Windows per batch."""
    shuffle_buffer: int
    """Windows held for mixing."""
    rank: int
    """Rank of this process."""
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
                for number in numbers.get((shard, sample.key), ()):
                    yield (visit, number), self._cut(sample, self.dataset.windows[number])

    def _cut(self, sample: Sample, window: Window) -> Frames:
        poses = sample.poses_3d[window.start : window.stop]
        if not self.dataset.is_stored:
            return Frames(poses)
        if sample.keypoints_2d is None:
            raise DataError(f"{sample.key}: its shard has no 2D joints, which the manifest lists")
        keypoints = sample.keypoints_2d[window.start : window.stop]
        return self.dataset.recorded(sample.key, poses, keypoints, sample.meta)

    def _assemble(self, items: list[Item]) -> WindowBatch:
        requests, stored = zip(*items, strict=True)
        return self.dataset.assemble(requests, stored)
