"""Recordings of a split as models see them: 2D input, target in a protocol's space, frames that count."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.config import RunConfig, UserError, build_config, with_values
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation, WindowDataset
from langpose_dist.data.draws import EVALUATION_EPOCH
from langpose_dist.data.manifest import Manifest, SampleEntry
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.windows import Window
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.geometry import observe


@dataclass(frozen=True)
class Recording:
    """One clip of a split, or a window of it."""

    entry: SampleEntry
    start: int
    """First frame within the clip."""
    keypoints_2d: Float[Tensor, "T J 3"]
    """x, y in half image widths and confidence."""
    poses_3d: Float[Tensor, "T J 3"]
    """In the protocol's space, pelvis at 0."""
    metres: Float[Tensor, "T"]
    """Metres per unit of the poses."""
    counted: Bool[Tensor, "T"]
    """Frames that the data set's protocol counts."""

    @property
    def name(self) -> str:
        """``clip``, or ``clip:first_frame`` of a later window."""
        return f"{self.entry.key}:{self.start}" if self.start else self.entry.key


def protocol_config(base: RunConfig, protocol: Protocol, split: str) -> RunConfig:
    """A configuration that reads a split as a protocol says, with the base's data, camera and noise."""
    values = {
        "target.space": protocol.space,
        "data.observation": protocol.observation,
        "data.held_out_camera": None,
        "data.validation_split": split,
        "train.best_metric": None,
    }
    return build_config(with_values(base.to_dict(), values))


def check_overrides(given: RunConfig, config: RunConfig, keys: Iterable[str], protocol: Protocol) -> None:
    """Check that no override contradicts a protocol.

    Raises:
        UserError: If one of the keys has another value in ``config``, from ``protocol_config``, than given.
    """
    before, after = given.to_flat(), config.to_flat()
    for key in keys:
        if before.get(key) != after.get(key):
            raise UserError(
                f"{key}={before[key]} contradicts --protocol {protocol.name}, which sets {after[key]}; leave "
                "it out"
            )


def count_readings(corpus: Corpus, protocol: Protocol, split: str) -> int:
    """Largest number of recordings, or windows of them, that ``read_recordings`` gives."""
    if protocol.observation == "camera":
        return len(corpus.windows(split, stride=corpus.config.window.num_frames))
    return corpus.manifest.splits[split].num_samples


def check_data(corpus: Corpus, protocol: Protocol, split: str) -> None:
    """Check that a protocol can be followed on some data.

    Raises:
        UserError: With the first reason why it cannot: another data set, rate, no 2D joints, or no groups.
    """
    manifest, path = corpus.manifest, corpus.config.data.path
    name = f"--protocol {protocol.name}"
    if protocol.sources and manifest.source not in protocol.sources:
        raise UserError(
            f"{name} is defined on {' or '.join(protocol.sources)}, data.path={path} holds {manifest.source}"
        )
    if protocol.fps is not None and manifest.fps != protocol.fps:
        raise UserError(
            f"{name} needs {protocol.fps:g} frames per second, data.path={path} has {manifest.fps:g}; build "
            f"the data with --fps {protocol.fps:g}"
        )
    if protocol.observation == "stored":
        corpus.check_observation(split)
    entries = [entry for _, shard in manifest.shards_of(split) for entry in shard.samples]
    bare = [entry.key for entry in entries if group_of(entry, protocol) is None]
    if bare and protocol.sources:
        raise UserError(
            f"{name} means over {protocol.group}s, which {len(bare)} of {len(entries)} clips of split "
            f"{split!r} do not name ({bare[0]}); build the data again with this version"
        )


def group_of(entry: SampleEntry, protocol: Protocol) -> str | None:
    """Action or sequence of a clip; ``None`` where its data set has none."""
    return entry.subject if protocol.group == "sequence" else entry.action


def read_recordings(
    corpus: Corpus, protocol: Protocol, split: str, camera: str | None = None
) -> Iterator[Recording]:
    """Recordings of a split, or of one camera, in the manifest's order; the protocol excludes some.

    Those that the virtual camera sees come window by window, with a camera for each, as in training.

    Raises:
        UserError: If one cannot be read.
    """
    if protocol.observation == "camera":
        windows = corpus.windows(split, stride=corpus.config.window.num_frames)
    else:
        windows = [
            Window(shard_index, sample_index, entry, 0, entry.num_frames, ())
            for shard_index, shard in corpus.manifest.shards_of(split)
            for sample_index, entry in enumerate(shard.samples)
        ]
    for number, window in enumerate(windows):  # draws belong to the window, whatever is left out
        is_excluded = window.entry.remark in protocol.excluded
        if not is_excluded and camera in (None, window.entry.camera):
            yield _read(corpus, protocol, windows, number)


def _read(corpus: Corpus, protocol: Protocol, windows: Sequence[Window], number: int) -> Recording:
    window, config = windows[number], corpus.config
    num_frames = window.stop - window.start
    if protocol.observation == "stored":  # the whole recording is the window
        whole = config.window.model_copy(update={"num_frames": num_frames})
        config = config.model_copy(update={"window": whole})
    augmentation = Augmentation.evaluation("noisy")
    dataset = WindowDataset(windows, corpus.reader, corpus.vocabulary, config, augmentation)
    batch = dataset[[(EVALUATION_EPOCH, number)]]
    if isinstance(batch, UserError):
        raise batch
    seen = observe(batch, config.camera, config.noise, config.target.space)
    counted = torch.ones(num_frames, dtype=torch.bool)
    if (ranges := window.entry.valid_frames) is not None:
        counted[:] = False
        for start, end in ranges:
            counted[start:end] = True
    keypoints, poses = seen.keypoints_2d[0, :num_frames], seen.poses_3d[0, :num_frames]
    return Recording(window.entry, window.start, keypoints, poses, seen.metres[0, :num_frames], counted)


def count_recordings(corpus: Corpus, protocol: Protocol, split: str) -> dict[str, Any]:
    """Recordings and frames of a split, those that the protocol leaves out, and the sources of their 2D."""
    entries = [entry for _, shard in corpus.manifest.shards_of(split) for entry in shard.samples]
    excluded = [entry for entry in entries if entry.remark in protocol.excluded]
    return {
        "num_recordings": len(entries) - len(excluded),
        "num_frames": sum(entry.num_frames for entry in entries) - sum(e.num_frames for e in excluded),
        "excluded": {
            remark: sorted(entry.key for entry in excluded if entry.remark == remark)
            for remark in protocol.excluded
        },
        "source_2d": source_2d(corpus, protocol, split),
        "camera": _camera_of(corpus.config) if protocol.observation == "camera" else None,
    }


def _camera_of(config: RunConfig) -> dict[str, Any]:
    """Ranges of the virtual camera and errors of its detector, on which a model's numbers depend."""
    values = config.to_flat()
    return {key: value for key, value in values.items() if key.partition(".")[0] in ("camera", "noise")}


def source_2d(corpus: Corpus, protocol: Protocol, split: str) -> str:
    """Origin of the 2D joints, such as the name of the detector."""
    if protocol.observation == "camera":
        return "synthetic: ground-truth 3D through a virtual camera, with detector noise"
    return stored_2d(corpus.manifest, corpus.reader, split)


def stored_2d(manifest: Manifest, reader: ShardReader, split: str) -> str:
    """Origin of the 2D joints in the shards of a split."""
    names = {
        str(reader.read_meta(shard_index, sample_index).get("keypoints_2d", "unknown"))
        for shard_index, shard in manifest.shards_of(split)
        for sample_index, _ in enumerate(shard.samples)
    }
    return "stored: " + ", ".join(sorted(names))
