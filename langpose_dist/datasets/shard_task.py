"""Building one shard: the unit of work of parallel builds, not repeated when a build resumes."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from langpose_dist.config import UserError
from langpose_dist.data.manifest import Record, Sha256, ShardEntry, Skipped
from langpose_dist.datasets.clip import Clip, SharedFileError, reason_of
from langpose_dist.datasets.shard_writer import ShardWriter
from langpose_dist.datasets.splits import TRAIN
from langpose_dist.datasets.statistics import FrameSums, StatisticsAccumulator
from langpose_dist.host.atomic import hash_file, write_bytes


class ShardRecord(Record):
    """Result of a task; kept beside the shard until the build is complete."""

    digest: Sha256
    """Digest of the task."""
    shard: ShardEntry | None
    """``None`` if no clip could be read."""
    skipped: tuple[Skipped, ...]
    """Dropped clips and parts of clips."""
    sums: FrameSums | None
    """Sums over the frames of a training shard."""


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Clips that become one shard."""

    folder: Path
    """Folder of the shard and its record."""
    name: str
    """File name of the shard."""
    split: str
    clips: tuple[Clip, ...]
    digest: str
    """Digest of everything that determines the shard's content; see ``digest_of``."""

    @property
    def shard_path(self) -> Path:
        """Path of the shard."""
        return self.folder / self.name

    @property
    def record_path(self) -> Path:
        """Path of its record, which is written after the shard."""
        return self.folder / f"{self.name}.json"

    def finished(self, *folders: Path) -> ShardRecord | None:
        """Record of an earlier attempt at the same task, if its shard is intact in one of the folders."""
        try:
            record = ShardRecord.model_validate_json(self.record_path.read_bytes())
        except (OSError, ValidationError):
            return None
        if record.digest != self.digest:
            return None
        if record.shard is None:
            return record
        paths = [folder / self.name for folder in folders]
        if any(path.is_file() and hash_file(path) == record.shard.sha256 for path in paths):
            return record
        return None


def digest_of(name: str, clips: Sequence[Clip], common: Mapping[str, Any]) -> str:
    """Hash the inputs of a shard: each clip's values, size and time of its file, and the build's options."""
    sources = []
    for clip in clips:
        assert dataclasses.is_dataclass(clip), f"{clip} must be a dataclass"
        state = [_state(one.path) for one in (clip, *getattr(clip, "spares", ()))]
        sources.append([type(clip).__name__, dataclasses.asdict(clip), state])
    content = json.dumps([name, sources, common], sort_keys=True, default=str)
    return hashlib.sha256(content.encode(errors="replace")).hexdigest()


def _state(path: Path) -> list[int]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def write_shard(task: ShardTask, on_clips: Callable[[int], Any]) -> ShardRecord:
    """Read the clips of a task and write its shard and record.

    Args:
        task: Its folder exists.
        on_clips: Called with 1 after each clip.

    Raises:
        OSError: If the shard cannot be written.
        SharedFileError: If a file that every clip needs is unusable.
    """
    skipped: list[Skipped] = []
    statistics = StatisticsAccumulator()
    entry = None
    num_added = 0
    with ShardWriter(task.shard_path, task.split) as writer:
        for clip in task.clips:
            reasons, is_added = _add(writer, clip, statistics)
            skipped += [Skipped(source=clip.source, reason=reason) for reason in reasons]
            num_added += is_added
            on_clips(1)
        if num_added:
            entry = writer.finish()
    record = ShardRecord(
        digest=task.digest,
        shard=entry,
        skipped=tuple(skipped),
        sums=statistics.sums() if task.split == TRAIN else None,
    )
    write_bytes(task.record_path, record.model_dump_json().encode(), durable=True)
    return record


def _add(writer: ShardWriter, clip: Clip, statistics: StatisticsAccumulator) -> tuple[tuple[str, ...], bool]:
    """Add a clip; returns the reasons why it or parts of it were dropped, and True if it was written."""
    try:
        sample = clip.load()
    except SharedFileError:
        raise
    except (UserError, OSError) as error:
        return (reason_of(error, clip.path),), False
    try:
        writer.add(sample, source_split=clip.split)
    except UserError as error:
        return (f"not a valid clip: {error}",), False
    statistics.add(sample)
    return sample.left_out, True
