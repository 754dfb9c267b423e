"""Building a folder of shards from clips: one task per shard, resumable after an interruption.

Shards are written to a work folder inside the output folder and moved out of it once all are complete; the
manifest comes last. Until then the output folder stays as it was: empty, or complete. The same command, run
again, resumes where the first attempt stopped.
"""

import contextlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from langpose_dist import __version__
from langpose_dist.data.manifest import FORMAT, MANIFEST, Manifest, Skipped
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.clip import Clip
from langpose_dist.datasets.files import code_revision, is_system
from langpose_dist.datasets.shard_task import ShardRecord, ShardTask, digest_of, write_shard
from langpose_dist.datasets.shard_writer import write_manifest
from langpose_dist.datasets.statistics import StatisticsAccumulator
from langpose_dist.host.atomic import fsync_path
from langpose_dist.host.paths import make_folder

WORK = ".langpose-build"
"""Work folder inside the output folder, for an incomplete build."""

LOCK = WORK + ".lock"
"""Lock of the building process."""

OnClips = Callable[[int], Any]
"""Progress callback, with the number of clips just processed."""

Runner = Callable[[Sequence[ShardTask], OnClips], Iterable[ShardRecord]]
"""Executes tasks, in any order and anywhere, and yields their records; an error of one ends the build."""

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+[.]tar")


def run_here(tasks: Sequence[ShardTask], on_clips: OnClips) -> Iterator[ShardRecord]:
    """Execute the tasks one after another in this process."""
    for task in tasks:
        yield write_shard(task, on_clips)


def build_shards(
    pairs: Sequence[tuple[str, Clip]],
    out: Path,
    *,
    dataset: str,
    source: str,
    fps: float,
    options: Mapping[str, Any],
    shard_size: int,
    overwrite: bool = False,
    skipped: Iterable[Skipped] = (),
    num_ignored: int = 0,
    runner: Runner = run_here,
    on_clips: OnClips = lambda count: None,
) -> Manifest:
    """Read clips and write them as shards with a manifest.

    The result depends, byte for byte, on the clips and options alone, and not on the runner.

    Args:
        pairs: (split, clip); each split's clips are written in this order.
        out: New, empty, left by an interrupted build, or complete if ``overwrite``.
        dataset: Name of the data set.
        source: Kind of the source files.
        fps: Frame rate of the samples.
        options: Everything but the clip itself that determines the sample; kept in the manifest.
        shard_size: Clips per shard; a shard has fewer where clips could not be read.
        overwrite: Replace a complete data set.
        skipped: Sources dropped before reading.
        num_ignored: Files of other kinds in the input.
        runner: Executes the tasks.
        on_clips: Called with progress, first with what an earlier attempt had completed.

    Raises:
        DataError: If the folder must not be written to, or all clips, or those of a split, were dropped.
    """
    check_output(out, overwrite=overwrite)
    left_out = list(skipped)
    if not pairs:
        raise _nothing_left(left_out)
    with _building(out, overwrite=overwrite) as work:
        common = {"code": code_revision(), "source": source, "fps": fps, "options": options}
        tasks = _plan(pairs, work, shard_size, common)
        _clear(work, tasks)
        records = _run(tasks, out, runner, on_clips)
        left_out += [item for record in records for item in record.skipped]
        left_out.sort(key=lambda item: item.source)
        shards = tuple(record.shard for record in records if record.shard is not None)
        if not shards:
            shutil.rmtree(work)
            raise _nothing_left(left_out)
        if lost := sorted({task.split for task in tasks} - {shard.split for shard in shards}):
            raise DataError(f"split {lost[0]!r} lost all its clips: {describe_skipped(left_out)}")
        statistics = StatisticsAccumulator()
        for record in records:
            if record.sums is not None:
                statistics.merge(record.sums)
        manifest = Manifest.create(
            tool_version=__version__,
            dataset=dataset,
            source=source,
            fps=fps,
            statistics=statistics.result(),
            shards=shards,
            build=dict(options),
            skipped=tuple(left_out),
            num_ignored=num_ignored,
        )
        _publish(manifest, work, out)
    return manifest


def count_reasons(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Count sources by kind of reason (the part before its colon), most frequent first."""
    return dict(Counter(item.reason.partition(":")[0] for item in skipped).most_common())


def describe_skipped(skipped: Iterable[Skipped]) -> str:
    """Summarise reasons, such as ``7 truncated motion, 2 no frames``."""
    return ", ".join(f"{count} {reason}" for reason, count in count_reasons(skipped).items())


def check_output(out: Path, *, overwrite: bool) -> None:
    """Validate an output folder.

    Raises:
        DataError: If it is complete and ``overwrite`` is false, or has other content.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is a file; choose a folder")
    if (out / MANIFEST).exists():
        if not _is_our_manifest(out / MANIFEST):
            raise DataError(f"{out} holds a {MANIFEST} of something else; choose another folder")
        if not overwrite:
            raise DataError(f"{out} already holds a complete data set; add --overwrite to replace it")
    elif not (out / WORK).is_dir() and not all(is_system(path.name) for path in out.iterdir()):
        raise DataError(f"{out} is not empty and holds no data of this package; choose another folder")


def _is_our_manifest(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT


def _nothing_left(left_out: Sequence[Skipped]) -> DataError:
    if not left_out:
        return DataError("no clip was found")
    first = left_out[0]
    return DataError(
        f"no clip is left of {len(left_out)}: {describe_skipped(left_out)}; "
        f"first {first.source}: {first.reason}"
    )


@contextlib.contextmanager
def _building(out: Path, *, overwrite: bool) -> Iterator[Path]:
    is_new = not out.exists()
    lock = FileLock(out / LOCK, timeout=0)
    work = out / WORK
    try:
        make_folder(out)
        lock.acquire()
        check_output(out, overwrite=overwrite)  # again: another build may just have finished
        work.mkdir(exist_ok=True)
        yield work
    except Timeout:
        raise DataError(
            f"{out} is being built by another process; wait for it or choose another folder"
        ) from None
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}; make room or choose another"
        ) from None
    finally:
        if lock.is_locked:
            (out / LOCK).unlink(missing_ok=True)
            lock.release()
            if is_new and not any(out.iterdir()):
                out.rmdir()


def _shard_names(manifest: Path) -> set[str]:
    """Names of the shards in a manifest, which may be damaged or of another version."""
    try:
        names = [shard["name"] for shard in json.loads(manifest.read_bytes())["shards"]]
    except (OSError, ValueError, LookupError, TypeError):
        return set()
    return {name for name in names if isinstance(name, str) and _SHARD_NAME.fullmatch(name)}


def _plan(
    pairs: Sequence[tuple[str, Clip]], work: Path, shard_size: int, common: Mapping[str, Any]
) -> list[ShardTask]:
    clips: dict[str, list[Clip]] = {}
    for split, clip in pairs:
        clips.setdefault(split, []).append(clip)
    tasks = []
    for split in sorted(clips):
        for number, start in enumerate(range(0, len(clips[split]), shard_size)):
            name = f"{split}-{number:06d}.tar"
            chosen = tuple(clips[split][start : start + shard_size])
            tasks.append(ShardTask(work, name, split, chosen, digest_of(name, chosen, common)))
    return tasks


def _clear(work: Path, tasks: Sequence[ShardTask]) -> None:
    """Remove unfinished files and those of an attempt with other clips or options."""
    expected = {path.name for task in tasks for path in (task.shard_path, task.record_path)}
    for path in work.iterdir():
        if path.name not in expected:
            path.unlink()


def _run(tasks: Sequence[ShardTask], out: Path, runner: Runner, on_clips: OnClips) -> list[ShardRecord]:
    records: dict[str, ShardRecord] = {}
    for task in tasks:
        # A build that was killed while moving its shards has some of them in their final folder.
        if record := task.finished(task.folder, out):
            records[task.digest] = record
            on_clips(len(task.clips))
    remaining = [task for task in tasks if task.digest not in records]
    records |= {record.digest: record for record in runner(remaining, on_clips)}
    return [records[task.digest] for task in tasks]


def _publish(manifest: Manifest, work: Path, out: Path) -> None:
    # The old manifest goes after the shards that it alone lists: nothing else distinguishes them from the
    # user's files. It goes before its other shards change.
    names = {shard.name for shard in manifest.shards}
    for name in _shard_names(out / MANIFEST) - names:
        (out / name).unlink(missing_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    for name in sorted(names):
        if (work / name).exists():
            (work / name).replace(out / name)
    fsync_path(out)
    write_manifest(manifest, out)
    shutil.rmtree(work)
