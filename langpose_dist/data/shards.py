"""Reading shards: WebDataset tar files, at random through the manifest's index or from front to end."""

import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from langpose_dist.data.cache import default_cache_dir, fetch_shard
from langpose_dist.data.manifest import Manifest, SampleEntry
from langpose_dist.data.remote import is_url, join, open_url
from langpose_dist.data.sample import (
    KEYPOINTS,
    META,
    NPY_HEADER_BYTES,
    POSES,
    DataError,
    Sample,
    decode_meta,
    decode_sample,
    parse_header,
)
from langpose_dist.host.atomic import hash_file
from langpose_dist.keypoints import check_keypoints
from langpose_dist.skeleton import H36M17

MAX_OPEN_FILES = 64
"""Shards that a reader keeps open."""


class ShardReader:
    """Random access to the clips of a data set; one thread at a time.

    Files are opened when first read, so an instance can be handed to loader processes by fork or by pickle.
    Reads do not move a file position: parent and child can read an inherited file at the same time.

    Args:
        manifest: Index of the shards.
        root: Folder or URL of the manifest.
        cache_dir: Folder for remote shards, shared by the node; default: the user's cache folder.
    """

    def __init__(self, manifest: Manifest, root: Path | str, cache_dir: Path | str | None = None) -> None:
        self._shards = manifest.shards
        self._root = str(root)
        self._cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        self._files: OrderedDict[int, int] = OrderedDict()
        self._data_offsets: dict[tuple[int, int, str], int] = {}

    def read_poses(
        self, shard_index: int, sample_index: int, start: int, stop: int
    ) -> Float32[np.ndarray, "T 17 3"]:
        """Read frames ``start`` up to ``stop`` of a clip, and no other bytes.

        Args:
            shard_index: Position in ``manifest.shards``.
            sample_index: Position in the shard's ``samples``.
            start: First frame.
            stop: One past the last frame.

        Returns:
            A new, writable array; world coordinates, metres.

        Raises:
            DataError: If the shard is missing, truncated or differs from the manifest.
            IndexError: If the frames are outside the clip.
        """
        return self._read_frames(shard_index, sample_index, POSES, start, stop)

    def read_keypoints(
        self, shard_index: int, sample_index: int, start: int, stop: int
    ) -> Float32[np.ndarray, "T 17 3"]:
        """Read the stored 2D joints of the same frames; arguments and errors are those of ``read_poses``.

        Returns:
            A new, writable array: x, y in half image widths from the centre, y down, and confidence.
        """
        keypoints = self._read_frames(shard_index, sample_index, KEYPOINTS, start, stop)
        try:
            check_keypoints(keypoints)
        except ValueError as error:
            key = self._shards[shard_index].samples[sample_index].key
            raise self._damaged(shard_index, f"{key}: {error}") from None
        return keypoints

    def read_meta(self, shard_index: int, sample_index: int) -> dict[str, Any]:
        """Read the ``meta.json`` of a clip.

        Raises:
            DataError: As ``read_poses``.
        """
        entry = self._shards[shard_index].samples[sample_index]
        content = self._read_member(shard_index, entry, META)
        try:
            return decode_meta(entry.key, content)
        except DataError as error:
            raise self._damaged(shard_index, str(error)) from None

    def iter_samples(self, shard_index: int) -> Iterator[Sample]:
        """Read all samples of a shard in order, whole, through WebDataset's own tar reader.

        A remote shard is streamed from the network and not kept.

        Raises:
            DataError: If the shard is damaged or its samples differ from the manifest.
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
            DataError: If it cannot be fetched or its hash differs from the manifest.
        """
        shard = self._shards[shard_index]
        if not is_url(self._root):
            return Path(join(self._root, shard.name))
        return fetch_shard(join(self._root, shard.name), shard, self._cache_dir)

    def check_size(self, shard_index: int) -> None:
        """Check that a shard exists and has the size that the manifest states.

        Raises:
            DataError: If it does not.
        """
        self._file(shard_index)

    def verify(self, shard_index: int) -> None:
        """Check a shard against its hash; a remote one is fetched first.

        Raises:
            DataError: If it is missing or differs from the manifest.
        """
        self._file(shard_index)
        try:
            found = hash_file(self.path(shard_index))
        except OSError as error:
            raise self._damaged(shard_index, f"cannot be read: {error.strerror}") from None
        if found != self._shards[shard_index].sha256:
            raise self._damaged(shard_index, "is damaged: its SHA-256 is not the manifest's")

    def close(self) -> None:
        """Close all files; a later read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict(), "_data_offsets": {}}

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def _read_frames(
        self, shard_index: int, sample_index: int, member: str, start: int, stop: int
    ) -> Float32[np.ndarray, "T 17 3"]:
        entry = self._shards[shard_index].samples[sample_index]
        if not 0 <= start < stop <= entry.num_frames:
            raise IndexError(f"{entry.key}: frames {start}..{stop} are outside 0..{entry.num_frames}")
        frames = np.empty((stop - start, H36M17.num_joints, 3), dtype="<f4")
        offset = self._data_offset(shard_index, sample_index, member) + start * frames[0].nbytes
        self._read_into(shard_index, frames.data.cast("B"), offset)
        return frames

    def _data_offset(self, shard_index: int, sample_index: int, member: str) -> int:
        place = (shard_index, sample_index, member)
        if place not in self._data_offsets:
            entry = self._shards[shard_index].samples[sample_index]
            header = self._read_member(shard_index, entry, member, NPY_HEADER_BYTES)
            offset, size = entry.members[member]
            try:
                shape, header_size = parse_header(entry.key, header, member)
            except DataError as error:
                raise self._damaged(shard_index, str(error)) from None
            if shape[0] != entry.num_frames or header_size + 4 * int(np.prod(shape)) != size:
                raise self._damaged(
                    shard_index, f"{entry.key} has {shape[0]} frames, the manifest says {entry.num_frames}"
                )
            self._data_offsets[place] = offset + header_size
        return self._data_offsets[place]

    def _read_member(
        self, shard_index: int, entry: SampleEntry, member: str, max_bytes: int | None = None
    ) -> bytes:
        if member not in entry.members:
            raise self._damaged(shard_index, f"has no {member} of {entry.key}")
        offset, size = entry.members[member]
        content = bytearray(size if max_bytes is None else min(size, max_bytes))
        self._read_into(shard_index, memoryview(content), offset)
        return bytes(content)

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
        if len(self._files) > MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return file

    def _damaged(self, shard_index: int, problem: str) -> DataError:
        place = join(self._root, self._shards[shard_index].name)
        return DataError(
            f"{place} {problem}; run `langpose data verify {self._root}` and build or copy it again"
        )


def read_tar(place: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Read (key, members as bytes) of each sample as WebDataset groups them; decode nothing.

    Args:
        place: File or URL.

    Raises:
        DataError: If the file is missing or damaged.
    """
    from webdataset.tariterators import group_by_keys

    try:
        with open_url(place) if is_url(place) else Path(place).open("rb") as stream:
            for item in group_by_keys(_tar_files(place, stream)):
                yield item["__key__"], {name: item[name] for name in item if not name.startswith("__")}
    except FileNotFoundError:
        raise DataError(f"{place} is missing; build or copy it again") from None
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DataError(f"{place} is damaged: {error.args[0] if error.args else error}") from None


def _tar_files(place: str, stream: Any) -> Iterator[dict[str, Any]]:
    """Name and content of each file, none larger than its bytes in the tar: not packed, without holes."""
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            tar.members = []  # type: ignore[misc]  # a stream needs no index
            if member.issparse():
                raise tarfile.TarError(f"{member.name} has holes")
            if (content := tar.extractfile(member)) is not None and not member.name.startswith("__"):
                yield {"fname": member.name, "data": content.read(), "__url__": place}


def tar_members(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Key -> member name -> (offset, size) of the data in a tar file.

    Raises:
        DataError: If it is damaged.
    """
    places: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                places.setdefault(key, {})[ending] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise DataError(f"{path} is damaged: {error}; build or copy it again") from None
    return places
