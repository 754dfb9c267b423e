"""Whether the files of a data set are what its manifest says, read both ways: as tar and by the index."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from langpose_dist.data.manifest import Manifest, SampleEntry, ShardEntry, Statistics
from langpose_dist.data.remote import is_url
from langpose_dist.data.sample import MEMBERS, DataError, Sample, decode_sample
from langpose_dist.data.shards import ShardReader, read_tar, tar_members
from langpose_dist.datasets.statistics import StatisticsAccumulator
from langpose_dist.host.atomic import PARTIAL, hash_file

STATISTICS_TOLERANCE = 1e-9
"""Metres; the order of float64 sums may differ between machines."""

Progress = Callable[[Sequence[ShardEntry]], Iterable[ShardEntry]]


def verify(
    root: Path | str, *, train_split: str, cache_dir: Path | None = None, progress: Progress = iter
) -> list[str]:
    """Read everything and compare it with the manifest.

    A shard with another size or hash is reported and not read any further.

    Args:
        root: Folder or URL of the manifest.
        train_split: Split that the statistics are of.
        cache_dir: Where remote shards are kept.
        progress: Wraps the shards, to show how far the check is.

    Returns:
        One line per problem; empty where all is well.
    """
    try:
        manifest = Manifest.load(root)
    except DataError as error:
        return [str(error)]
    problems = [] if is_url(str(root)) else list(_extra_files(Path(root), manifest))
    reader = ShardReader(manifest, root, cache_dir)
    statistics = StatisticsAccumulator()
    complete = True
    for index, shard in enumerate(progress(manifest.shards)):
        try:
            found = list(_check_shard(reader, index, shard, manifest, train_split, statistics))
        except DataError as error:
            found = [str(error)]
        complete = complete and not found
        problems += found
    reader.close()
    # Statistics of damaged shards would differ too, and say nothing new.
    if complete and not _agree(statistics.result(), manifest.statistics):
        problems.append(f"manifest.json: the statistics are not those of the {train_split} split's frames")
    return problems


def _extra_files(root: Path, manifest: Manifest) -> Iterator[str]:
    names = {shard.name for shard in manifest.shards}
    for path in sorted(root.iterdir()):
        if path.name.endswith((".tar", PARTIAL)) and path.name not in names:
            yield f"{path.name} is not listed in the manifest; remove it"


def _check_shard(
    reader: ShardReader,
    index: int,
    shard: ShardEntry,
    manifest: Manifest,
    train_split: str,
    statistics: StatisticsAccumulator,
) -> Iterator[str]:
    path = reader.path(index)
    remedy = "build or copy it again"
    if not path.is_file():
        yield f"{shard.name} is missing; {remedy}"
        return
    if (size := path.stat().st_size) != shard.num_bytes:
        yield f"{shard.name} has {size} bytes, the manifest says {shard.num_bytes}; {remedy}"
        return
    if hash_file(path) != shard.sha256:
        yield f"{shard.name} is damaged: its SHA-256 is not the manifest's; {remedy}"
        return
    yield from _check_index(path, shard)
    samples = list(read_tar(str(path)))
    if [key for key, _ in samples] != [entry.key for entry in shard.samples]:
        yield f"{shard.name}: the tar reader finds other clips than the manifest lists"
        return
    for number, (entry, (key, members)) in enumerate(zip(shard.samples, samples, strict=True)):
        try:
            sample = decode_sample(key, members)
            by_index = reader.read_poses(index, number, 0, entry.num_frames)
        except DataError as error:
            yield f"{shard.name}: {error}"
            continue
        yield from (f"{shard.name}: {key}: {text}" for text in _differences(sample, entry, manifest))
        if not np.array_equal(by_index, sample.poses_3d):
            yield f"{shard.name}: {key}: the index leads to other poses than the tar reader"
        if shard.split == train_split:
            statistics.add(sample)


def _check_index(path: Path, shard: ShardEntry) -> Iterator[str]:
    found = tar_members(path)
    for entry in shard.samples:
        members = found.pop(entry.key, {})
        for name in sorted(set(members) - set(MEMBERS)):
            yield f"{shard.name}: {entry.key} has a foreign member {name!r}; it is never decoded"
        if {name: members.get(name) for name in MEMBERS} != entry.members:
            yield f"{shard.name}: {entry.key} lies elsewhere than the manifest says"
    for key in sorted(found):
        yield f"{shard.name}: {key} is not listed in the manifest"


def _differences(sample: Sample, entry: SampleEntry, manifest: Manifest) -> Iterator[str]:
    if (num_frames := len(sample.poses_3d)) != entry.num_frames:
        yield f"{num_frames} frames, the manifest says {entry.num_frames}"
    if sample.spans != entry.spans:
        yield "labels.json and the manifest disagree"
    if (fps := sample.meta.get("fps")) != manifest.fps:
        yield f"{fps} frames per second, the manifest says {manifest.fps:g}"
    if (dataset := sample.meta.get("dataset")) != manifest.dataset:
        yield f"data set {dataset!r}, the manifest says {manifest.dataset!r}"


def _agree(found: Statistics | None, listed: Statistics | None) -> bool:
    if found is None or listed is None:
        return found is listed
    return found.num_frames == listed.num_frames and all(
        np.allclose(getattr(found, name), getattr(listed, name), rtol=0, atol=STATISTICS_TOLERANCE)
        for name in ("mean", "std", "min", "max")
    )
