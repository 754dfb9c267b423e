"""Reading from URLs through WebDataset's ``gopen``, with an allow-list of schemes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from langpose_dist.data.sample import DataError

SCHEMES = ("http", "https", "gs", "s3")
"""Supported schemes; curl, gsutil and aws fetch them, each started without a shell."""

CHUNK_BYTES = 1 << 20


def is_url(place: str) -> bool:
    """True if a place is a URL rather than a folder."""
    return "://" in place or place.startswith("pipe:")


def join(root: str, name: str) -> str:
    """Join a folder or URL and the name of a file in it."""
    return f"{root.rstrip('/')}/{name}" if is_url(root) else os.path.join(root, name)


def read_url(url: str) -> bytes:
    """Read all bytes at a URL.

    Raises:
        DataError: If it cannot be fetched.
    """
    return b"".join(read_chunks(url))


def read_chunks(url: str) -> Iterator[bytes]:
    """Read the bytes at a URL in chunks.

    Raises:
        DataError: If it cannot be fetched.
    """
    with open_url(url) as stream:
        try:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
            stream.close()  # waits for the program and checks its exit status
        except OSError:
            raise DataError(
                f"{url} cannot be fetched; check the address, access rights and network"
            ) from None


@contextmanager
def open_url(url: str) -> Iterator[Any]:
    """Open a URL as a stream of bytes.

    Raises:
        DataError: If its scheme is not supported or the program that fetches it is missing.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise DataError(f"{url}: scheme {scheme!r} is not supported; use a folder or {', '.join(SCHEMES)}")
    try:
        stream = _gopen()(url)
    except FileNotFoundError as error:
        raise DataError(f"{url}: fetching needs the program {error.filename!r}; install it") from None
    try:
        yield stream
    finally:
        # A reader that stops early must not wait for the rest of the transfer.
        if stream.proc.poll() is None:
            stream.proc.terminate()
            stream.proc.wait()
        stream.stream.close()


def _gopen() -> Any:
    # WebDataset reads this once, at its first import: pipe: URLs, which run a shell, are then refused.
    os.environ.setdefault("WDS_SECURE", "1")
    from webdataset.gopen import gopen, gopen_schemes

    gopen_schemes.setdefault("s3", _open_s3)
    return gopen


def _open_s3(url: str, mode: str = "rb", bufsize: int = 8192) -> Any:
    from webdataset.gopen import Pipe

    return Pipe(["aws", "s3", "cp", "--only-show-errors", url, "-"], mode=mode, bufsize=bufsize)
