"""Clips of shards as MMD sees them: each recording once, features at one rate, whole clips up to a cap."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float64

from langpose_dist.analysis.features import MIN_FRAMES, frame_features
from langpose_dist.data.manifest import Manifest, SampleEntry
from langpose_dist.data.shards import ShardReader
from langpose_dist.datasets.timing import frame_places, resample


class Clip(NamedTuple):
    """Place of a clip in its shards."""

    shard_index: int
    sample_index: int
    entry: SampleEntry


@dataclass(frozen=True)
class ClipSet:
    """A split of a folder of shards."""

    manifest: Manifest
    split: str
    reader: ShardReader
    clips: tuple[Clip, ...]
    """One per recording: several cameras see the same motion."""
    num_views: int
    """Clips of further cameras, which are left out."""

    @classmethod
    def open(cls, path: str, split: str) -> Self:
        """Open a folder or URL.

        Raises:
            DataError: If it holds no complete build, or no such split.
        """
        manifest = Manifest.load(path)
        recordings: dict[tuple[str | None, ...], Clip] = {}
        num_clips = 0
        for shard_index, shard in manifest.shards_of(split):
            for sample_index, entry in enumerate(shard.samples):
                recordings.setdefault(recording_of(entry), Clip(shard_index, sample_index, entry))
                num_clips += 1
        clips = tuple(recordings.values())
        return cls(manifest, split, ShardReader(manifest, path), clips, num_clips - len(clips))

    def groups(self, field: str | None) -> Mapping[str, Sequence[Clip]]:
        """Clips by action or subject, without those that have none; all of them without a field."""
        if field is None:
            return {"all": self.clips}
        groups: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.clips:
            if (value := getattr(clip.entry, field)) is not None:
                groups[value].append(clip)
        return groups

    def draw(self, clips: Sequence[Clip], fps: float, max_frames: int) -> list[Clip]:
        """As many whole clips, in random order with a fixed seed, as have at most so many frames together.

        Those that are too short for an acceleration are left out.
        """
        rate = self.manifest.fps
        sizes = np.array([len(frame_places(clip.entry.num_frames, rate, fps).share) for clip in clips], int)
        long = np.flatnonzero(sizes >= MIN_FRAMES)
        order = np.random.Generator(np.random.Philox(key=0)).permutation(long)
        return [clips[place] for place in sorted(order[np.cumsum(sizes[order] - 2) <= max_frames])]

    def read(self, clip: Clip, fps: float) -> Float64[np.ndarray, "S 6"]:
        """Features of a clip at a rate."""
        poses = self.reader.read_poses(clip.shard_index, clip.sample_index, 0, clip.entry.num_frames)
        return frame_features(resample(poses, self.manifest.fps, fps), fps)

    def describe(self) -> dict[str, Any]:
        """Identity of the data: fingerprint, split and rate."""
        return {
            "dataset": self.manifest.dataset,
            "split": self.split,
            "fps": self.manifest.fps,
            "fingerprint": self.manifest.fingerprint,
            "num_clips": len(self.clips),
            "num_further_cameras": self.num_views,
        }


def recording_of(entry: SampleEntry) -> tuple[str | None, ...]:
    """Identity of a clip's motion, the same for every camera that saw it."""
    is_seen = entry.camera is not None and entry.subaction is not None
    return (entry.subject, entry.subaction) if is_seen else (entry.key,)
