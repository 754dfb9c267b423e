"""Writing whole files: a reader, also after a kill, finds the old content or the new one, never a part."""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def write_record(path: Path, content: Mapping[str, Any], *, room: int) -> None:
    """Replace a JSON object, also on a full disk: there it is written over the one before, in place.

    Args:
        path: The file.
        content: The object.
        room: Bytes that the file keeps free, in spaces, for longer contents to come.

    Raises:
        OSError: If there is no access, or no space and the file before is shorter.
    """
    text = json.dumps(content, indent=2).encode()
    # Its own temporary file: the last words of several ranks may be written at once.
    partial = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}{PARTIAL}")
    try:
        partial.write_bytes(text + b" " * room + b"\n")
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        if (size := path.stat().st_size) <= len(text):
            raise
        with path.open("r+b") as file:
            file.write(text.ljust(size - 1) + b"\n")


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
