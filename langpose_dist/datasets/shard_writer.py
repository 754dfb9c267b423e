"""Writing shards and their manifest: each file whole or not at all."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from langpose_dist.data.manifest import MANIFEST, Manifest, SampleEntry, ShardEntry, groups_of
from langpose_dist.data.sample import Sample, encode_sample
from langpose_dist.data.shards import tar_members
from langpose_dist.host.atomic import PARTIAL, fsync_path, hash_file, write_bytes


class ShardWriter:
    """Context manager that writes one shard.

    The shard is written under another name and renamed once it is complete and on disk. The same samples in
    the same order give the same bytes. A shard that was not finished leaves nothing behind.

    Args:
        path: The shard; its folder exists already.
        split: Written into the manifest.
    """

    def __init__(self, path: Path, split: str) -> None:
        from webdataset.writer import TarWriter

        self._path = path
        self._split = split
        self._partial = path.with_name(path.name + PARTIAL)
        self._written: list[dict[str, Any]] = []
        self._file = self._partial.open("wb")
        self._tar = TarWriter(self._file, user="", group="", mode=0o644, mtime=0, encoder=False)

    def add(self, sample: Sample, *, source_split: str | None = None) -> None:
        """Append a sample.

        Args:
            sample: Its meta gives the fields that evaluation groups by.
            source_split: Split that the data set itself puts the clip into.

        Raises:
            DataError: If ``encode_sample`` refuses the sample; nothing is written then.
        """
        members = encode_sample(sample)
        self._tar.write({"__key__": sample.key, **members})
        self._written.append(
            {
                "key": sample.key,
                "num_frames": len(sample.poses_3d),
                "spans": sample.spans,
                "captions": sample.captions,
                "source_split": source_split,
                **groups_of(sample.meta),
            }
        )

    def finish(self) -> ShardEntry:
        """Complete the shard and describe it for the manifest."""
        self._tar.close()
        self._file.close()
        fsync_path(self._partial)
        # Read back from the file, so that the index holds what is there and not what was intended.
        members = tar_members(self._partial)
        shard = ShardEntry(
            name=self._path.name,
            split=self._split,
            sha256=hash_file(self._partial),
            num_bytes=self._partial.stat().st_size,
            samples=tuple(SampleEntry(members=members[entry["key"]], **entry) for entry in self._written),
        )
        self._partial.replace(self._path)
        return shard

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # on a full disk even closing fails
            self._tar.close()
        with contextlib.suppress(OSError):
            self._file.close()
        self._partial.unlink(missing_ok=True)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` whole or not at all."""
    write_bytes(folder / MANIFEST, manifest.to_json(), durable=True)
