"""The data of one run: manifest, reader, vocabulary and windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from langpose_dist.config import RunConfig
from langpose_dist.data.dataset import Augmentation, WindowDataset
from langpose_dist.data.labels import Vocabulary
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.windows import Window, cut_windows


@dataclass(frozen=True)
class Corpus:
    """A folder of shards as one configuration uses it."""

    config: RunConfig
    manifest: Manifest
    reader: ShardReader
    vocabulary: Vocabulary

    @classmethod
    def open(cls, config: RunConfig) -> Self:
        """Open the folder or URL that the configuration names.

        Raises:
            UserError: If it holds no complete build, or not the configured splits.
        """
        manifest = Manifest.load(config.data.path)
        train = manifest.splits.get(config.data.train_split)
        others = [label for split in manifest.splits.values() for label in split.label_counts]
        return cls(
            config=config,
            manifest=manifest,
            reader=ShardReader(manifest, config.data.path, config.data.cache_dir),
            vocabulary=Vocabulary.build(
                train.label_counts if train else {}, others, config.data.flip_probability
            ),
        )

    def windows(self, split: str, *, stride: int) -> list[Window]:
        """The windows of a split.

        Raises:
            DataError: If the split does not exist, holds no clip, or counts only some of its frames.
        """
        if (self.manifest.source, split) == ("mpi-inf-3dhp", "test"):
            raise DataError(
                f"{self.config.data.path}: of MPI-INF-3DHP's test recordings only some frames count, which "
                "are not told apart yet; numbers of all frames would be of no protocol: choose another split"
            )
        window = self.config.window
        return cut_windows(
            self.manifest,
            split,
            num_frames=window.num_frames,
            stride=stride,
            min_span_frames=window.min_span_frames,
        )

    def dataset(self, windows: Sequence[Window], augmentation: Augmentation) -> WindowDataset:
        """Windows with their draws."""
        return WindowDataset(windows, self.reader, self.vocabulary, self.config, augmentation)

    @cached_property
    def training_set(self) -> WindowDataset:
        """The training split as training sees it."""
        windows = self.windows(self.config.data.train_split, stride=self.config.window.stride)
        return self.dataset(windows, Augmentation.training(self.config))
