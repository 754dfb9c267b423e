"""Local copies of remote shards, fetched once per node and verified against their hashes."""

import hashlib
from pathlib import Path

from filelock import FileLock

from langpose_dist.data.manifest import ShardEntry
from langpose_dist.data.remote import read_chunks
from langpose_dist.data.sample import DataError
from langpose_dist.host.atomic import PARTIAL, fsync_path
from langpose_dist.host.paths import cache_folder


def default_cache_dir() -> Path:
    """Folder for remote shards in the user's cache."""
    return cache_folder("shards")


def fetch_shard(url: str, shard: ShardEntry, cache_dir: Path) -> Path:
    """Fetch a shard once per node and check it against its hash.

    Args:
        url: Address of the shard.
        shard: Its size and hash.
        cache_dir: Shared by the processes of the node; created if missing. Files are named by their hash.

    Raises:
        DataError: If it cannot be fetched or differs from the manifest; nothing is kept then.
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
