"""Verification of a data set against its manifest, read both ways: as tar files and by the index."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from langpose_dist.data.manifest import GROUPS, Manifest, SampleEntry, ShardEntry, Statistics, groups_of
from langpose_dist.data.remote import is_url
from langpose_dist.data.sample import KEYPOINTS, MEMBERS, DataError, Sample, Span, decode_sample
from langpose_dist.data.shards import ShardReader, read_tar, tar_members
from langpose_dist.datasets.files import is_system
from langpose_dist.datasets.statistics import StatisticsAccumulator
from langpose_dist.host.atomic import PARTIAL, hash_file

STATISTICS_TOLERANCE = 1e-9
"""Largest difference in metres, or square metres; the order of float64 sums may differ between machines."""

GROUPS_IN_META = tuple(name for name in GROUPS if name not in ("source_split", "mirrored"))
"""Fields that the manifest takes from ``meta.json``; manifests of older builds lack ``mirrored``."""

Progress = Callable[[Sequence[ShardEntry]], Iterable[ShardEntry]]


def verify(
    root: Path | str, *, train_split: str, cache_dir: Path | None = None, progress: Progress = iter
) -> list[str]:
    """Compare everything in a data set with its manifest.

    A shard with another size or hash is reported and not read any further.

    Args:
        root: Folder or URL of the manifest.
        train_split: Split that the statistics were taken over.
        cache_dir: Folder for remote shards.
        progress: Wraps the shards, to show progress.

    Returns:
        One line per problem; empty if there is none.
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
        is_extra = path.name.endswith((".tar", PARTIAL)) and not is_system(path.name)
        if is_extra and path.name not in names:
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
    for entry, (key, members) in zip(shard.samples, samples, strict=True):
        try:
            sample = decode_sample(key, members)
            found = list(_differences(sample, entry, manifest))
        except DataError as error:
            yield f"{shard.name}: {error}"
            continue
        yield from (f"{shard.name}: {key}: {text}" for text in found)
        if shard.split == train_split:
            statistics.add(sample)


def _check_index(path: Path, shard: ShardEntry) -> Iterator[str]:
    found = tar_members(path)
    for entry in shard.samples:
        members = found.pop(entry.key, {})
        expected = (*MEMBERS, KEYPOINTS) if KEYPOINTS in members else MEMBERS
        for name in sorted(set(members) - set(expected)):
            yield f"{shard.name}: {entry.key} has a foreign member {name!r}; it is never decoded"
        if {name: members.get(name) for name in expected} != entry.members:
            yield f"{shard.name}: {entry.key} lies elsewhere than the manifest says"
    for key in sorted(found):
        yield f"{shard.name}: {key} is not listed in the manifest"


def _differences(sample: Sample, entry: SampleEntry, manifest: Manifest) -> Iterator[str]:
    if (num_frames := len(sample.poses_3d)) != entry.num_frames:
        yield f"{num_frames} frames, the manifest says {entry.num_frames}"
    if _labels(sample.spans) != _labels(entry.spans):
        yield "labels.json and the manifest disagree"
    if (fps := sample.meta.get("fps")) != manifest.fps:
        yield f"{fps} frames per second, the manifest says {manifest.fps:g}"
    if (dataset := sample.meta.get("dataset")) != manifest.dataset:
        yield f"data set {dataset!r}, the manifest says {manifest.dataset!r}"
    if manifest.version == 1:
        return
    found = groups_of(sample.meta)
    for name in GROUPS_IN_META:
        if found.get(name) != entry.groups.get(name):
            yield f"{name} is {found.get(name)!r} in meta.json, the manifest says {entry.groups.get(name)!r}"


def _labels(spans: Iterable[Span]) -> list[tuple[str, int, int]]:
    return [(span.label, span.start, span.end) for span in spans]


def _agree(found: Statistics | None, listed: Statistics | None) -> bool:
    if found is None or listed is None:
        return found is listed
    if found.num_frames != listed.num_frames:
        return False
    # Variances: the root of one that is nearly 0 would enlarge the rounding error.
    pairs = [(getattr(found, name), getattr(listed, name)) for name in ("mean", "min", "max")]
    pairs.append((np.square(found.std), np.square(listed.std)))
    return all(np.allclose(one, other, rtol=0, atol=STATISTICS_TOLERANCE) for one, other in pairs)
