"""Shards: WebDataset tar files that are written whole, and read at random through the manifest's index."""

import contextlib
import hashlib
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock
from jaxtyping import Float32

from langpose_dist.data.manifest import MANIFEST, Manifest, SampleEntry, ShardEntry
from langpose_dist.data.remote import is_url, join, open_url, read_chunks
from langpose_dist.data.sample import (
    NPY_HEADER_BYTES,
    DataError,
    Sample,
    Span,
    decode_sample,
    encode_sample,
    parse_header,
)
from langpose_dist.host.atomic import PARTIAL, fsync_path, hash_file, write_bytes

DEFAULT_SHARD_SIZE = 64
"""Clips per shard: a few megabytes of motion, and several shards even for a small data set."""

_MAX_OPEN = 64


class ShardWriter:
    """Writes one shard.

    It is written under another name and renamed when it is whole and on disk. The same samples in the same
    order give the same bytes. Used as a context: a shard that was not finished leaves nothing behind.

    Args:
        path: Where the shard will be; its folder exists already.
        split: Written into the manifest.
    """

    def __init__(self, path: Path, split: str) -> None:
        from webdataset.writer import TarWriter

        self._path = path
        self._split = split
        self._partial = path.with_name(path.name + PARTIAL)
        self._written: list[tuple[str, int, tuple[Span, ...]]] = []
        self._file = self._partial.open("wb")
        self._tar = TarWriter(self._file, user="", group="", mode=0o644, mtime=0, encoder=False)

    def add(self, sample: Sample) -> None:
        """Append a sample.

        Raises:
            DataError: If the sample breaks the contract of ``encode_sample``; nothing is written then.
        """
        members = encode_sample(sample)
        self._tar.write({"__key__": sample.key, **members})
        self._written.append((sample.key, len(sample.poses_3d), sample.spans))

    def finish(self) -> ShardEntry:
        """Complete the shard; returns what the manifest says of it."""
        self._tar.close()
        self._file.close()
        fsync_path(self._partial)
        # Read back from the file, so the index is what is there and not what was meant.
        places = tar_members(self._partial)
        entry = ShardEntry(
            name=self._path.name,
            split=self._split,
            sha256=hash_file(self._partial),
            num_bytes=self._partial.stat().st_size,
            samples=tuple(
                SampleEntry(key=key, num_frames=num_frames, spans=spans, members=places[key])
                for key, num_frames, spans in self._written
            ),
        )
        self._partial.replace(self._path)
        return entry

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


class ShardReader:
    """Random access to the poses of a data set; one thread at a time.

    Files are opened when first read, so an instance can be handed to loader processes by fork or by pickle.
    Reads do not move a file position, and an inherited file can be read by parent and child alike.

    Args:
        manifest: Gives the index.
        root: Folder or URL of the manifest.
        cache_dir: Where remote shards are kept, once per node; default: the user's cache folder.
    """

    def __init__(self, manifest: Manifest, root: Path | str, cache_dir: Path | str | None = None) -> None:
        self._shards = manifest.shards
        self._root = str(root)
        self._cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        self._files: OrderedDict[int, int] = OrderedDict()
        self._data_offsets: dict[tuple[int, int], int] = {}

    def read_poses(
        self, shard_index: int, sample_index: int, start: int, stop: int
    ) -> Float32[np.ndarray, "T 17 3"]:
        """Frames ``start`` up to ``stop`` of a clip; only their bytes are read.

        Args:
            shard_index: Position in ``manifest.shards``.
            sample_index: Position in the shard's ``samples``.
            start: First frame.
            stop: One past the last frame.

        Returns:
            A new, writable array; world coordinates, metres.

        Raises:
            DataError: If the shard is missing, shorter than the manifest says, or not what it says.
            IndexError: If the frames are outside the clip.
        """
        entry = self._shards[shard_index].samples[sample_index]
        if not 0 <= start < stop <= entry.num_frames:
            raise IndexError(f"{entry.key}: frames {start}..{stop} are outside 0..{entry.num_frames}")
        row = 17 * 3 * 4
        poses = np.empty((stop - start, 17, 3), dtype="<f4")
        offset = self._data_offset(shard_index, sample_index) + start * row
        self._read_into(shard_index, poses.data.cast("B"), offset)
        return poses

    def iter_samples(self, shard_index: int) -> Iterator[Sample]:
        """All samples of a shard in order, whole, through WebDataset's own tar reader.

        A remote shard is read from the network as it comes and not kept.

        Raises:
            DataError: If the shard is damaged or holds other samples than the manifest says.
        """
        shard = self._shards[shard_index]
        remaining = iter(shard.samples)
        for key, members in read_tar(join(self._root, shard.name)):
            entry = next(remaining, None)
            if entry is None or entry.key != key:
                raise self._damaged(shard_index, f"holds {key!r}, which the manifest does not list there")
            yield decode_sample(key, members)
        if (entry := next(remaining, None)) is not None:
            raise self._damaged(shard_index, f"ends before {entry.key!r}")

    def path(self, shard_index: int) -> Path:
        """Local file of a shard; a remote one is fetched and verified first.

        Raises:
            DataError: If it cannot be fetched or has another hash than the manifest says.
        """
        shard = self._shards[shard_index]
        if not is_url(self._root):
            return Path(join(self._root, shard.name))
        return fetch_shard(join(self._root, shard.name), shard, self._cache_dir)

    def check_size(self, shard_index: int) -> None:
        """See that a shard is there and as long as the manifest says.

        Raises:
            DataError: If it is not.
        """
        self._file(shard_index)

    def verify(self, shard_index: int) -> None:
        """Read a shard whole and compare it with its hash; a remote one is fetched first.

        Raises:
            DataError: If it is missing, or not what the manifest says.
        """
        self._file(shard_index)
        try:
            found = hash_file(self.path(shard_index))
        except OSError as error:
            raise self._damaged(shard_index, f"cannot be read: {error.strerror}") from None
        if found != self._shards[shard_index].sha256:
            raise self._damaged(shard_index, "is damaged: its SHA-256 is not the manifest's")

    def close(self) -> None:
        """Close all files; the reader can still be used and opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict(), "_data_offsets": {}}

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def _data_offset(self, shard_index: int, sample_index: int) -> int:
        place = (shard_index, sample_index)
        if place not in self._data_offsets:
            entry = self._shards[shard_index].samples[sample_index]
            offset, size = entry.poses
            header = bytearray(min(NPY_HEADER_BYTES, size))
            self._read_into(shard_index, memoryview(header), offset)
            try:
                shape, header_size = parse_header(entry.key, bytes(header))
            except DataError as error:
                raise self._damaged(shard_index, str(error)) from None
            if shape[0] != entry.num_frames or header_size + 4 * int(np.prod(shape)) != size:
                raise self._damaged(
                    shard_index, f"{entry.key} has {shape[0]} frames, the manifest says {entry.num_frames}"
                )
            self._data_offsets[place] = offset + header_size
        return self._data_offsets[place]

    def _read_into(self, shard_index: int, view: memoryview, offset: int) -> None:
        num_read = 0
        while num_read < len(view):
            try:
                count = os.preadv(self._file(shard_index), [view[num_read:]], offset + num_read)
            except OSError as error:
                raise self._damaged(shard_index, f"cannot be read: {error.strerror}") from None
            if count == 0:
                raise self._damaged(shard_index, f"ends at byte {offset + num_read}")
            num_read += count

    def _file(self, shard_index: int) -> int:
        if shard_index in self._files:
            self._files.move_to_end(shard_index)
            return self._files[shard_index]
        path = self.path(shard_index)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            problem = "is missing" if is_missing else f"cannot be read: {error.strerror}"
            raise self._damaged(shard_index, problem) from None
        size = os.fstat(file).st_size
        if size != (expected := self._shards[shard_index].num_bytes):
            os.close(file)
            raise self._damaged(shard_index, f"has {size} bytes, the manifest says {expected}")
        self._files[shard_index] = file
        if len(self._files) > _MAX_OPEN:
            os.close(self._files.popitem(last=False)[1])
        return file

    def _damaged(self, shard_index: int, problem: str) -> DataError:
        place = join(self._root, self._shards[shard_index].name)
        return DataError(
            f"{place} {problem}; run `langpose data verify {self._root}` and build or copy it again"
        )


def fetch_shard(url: str, shard: ShardEntry, cache_dir: Path) -> Path:
    """Fetch a shard once per node and check it against its hash.

    Args:
        url: Where it is.
        shard: Gives hash and size.
        cache_dir: Shared by the processes of the node; made if missing. Files are named by their hash.

    Raises:
        DataError: If it cannot be fetched or is not what the manifest says; nothing is kept then.
    """
    path = cache_dir / f"{shard.sha256}.tar"
    if path.exists():
        return path
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f"{shard.sha256}.lock"):
            if not path.exists():  # another process may have been faster
                _fetch(url, shard, path)
    except OSError as error:
        raise DataError(
            f"{cache_dir}: {url} cannot be kept there: {error.strerror}; set data.cache_dir"
        ) from None
    return path


def _fetch(url: str, shard: ShardEntry, path: Path) -> None:
    partial = path.with_name(path.name + PARTIAL)
    digest = hashlib.sha256()
    num_bytes = 0
    try:
        with partial.open("wb") as file:
            for chunk in read_chunks(url):
                num_bytes += len(chunk)
                if num_bytes > shard.num_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
        fsync_path(partial)
        if num_bytes != shard.num_bytes or digest.hexdigest() != shard.sha256:
            raise DataError(
                f"{url} is not the shard that the manifest lists: its hash differs; copy it again"
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def default_cache_dir() -> Path:
    """The user's cache folder for remote shards."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "langpose" / "shards"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` whole or not at all."""
    write_bytes(folder / MANIFEST, manifest.to_json(), durable=True)


def read_tar(place: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, members as bytes) of each sample, through WebDataset's own tar reader; nothing is decoded.

    Args:
        place: File or URL.

    Raises:
        DataError: If the file is missing or the reader finds it damaged.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        with open_url(place) if is_url(place) else Path(place).open("rb") as stream:
            for item in group_by_keys(tar_file_expander([{"url": place, "stream": stream}])):
                yield item["__key__"], {name: item[name] for name in item if not name.startswith("__")}
    except FileNotFoundError:
        raise DataError(f"{place} is missing; build or copy it again") from None
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DataError(f"{place} is damaged: {error.args[0] if error.args else error}") from None


def tar_members(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Key -> member name -> (offset, size) of the data in a tar file."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            places.setdefault(key, {})[ending] = (member.offset_data, member.size)
    return places
