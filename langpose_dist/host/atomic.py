"""Writing whole files: a reader, also after a kill, finds the old content or the new one, never a part."""

import hashlib
import os
from pathlib import Path

PARTIAL = ".partial"
"""Ending of a file that is still being written."""


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; ``NAME.partial`` stands beside it until the content is complete.
        content: Its new content.
        durable: Wait until content and name are on disk, so that they outlast a power failure.

    Raises:
        OSError: If there is no space or no access.
    """
    partial = path.with_name(path.name + PARTIAL)
    partial.write_bytes(content)
    if durable:
        fsync_path(partial)
    partial.replace(path)
    if durable:
        fsync_path(path.parent)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a UTF-8 text file whole or not at all; see ``write_bytes``."""
    write_bytes(path, text.encode(), durable=durable)


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Push a file's content, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
