"""The folder that a synthetic data set is written into, and the file that says what it is."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langpose_dist import __version__
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.files import code_revision
from langpose_dist.datasets.source import SYNTHETIC
from langpose_dist.host.atomic import write_text
from langpose_dist.host.paths import make_folder

MIN_FRAMES = 20
"""Least usual length of recordings."""


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[None]:
    """Make the folder, and turn what goes wrong in writing to it into a message.

    Raises:
        DataError: If it holds something or cannot be written.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} is not an empty folder; choose a new one")
    try:
        make_folder(out)
        yield
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}; make room or choose another"
        ) from None


def check_subjects(chosen: Sequence[str], known: Sequence[str]) -> None:
    """Check that subjects are some of those that are known, each once.

    Raises:
        DataError: If they are not.
    """
    if not chosen or len(set(chosen)) != len(chosen) or not set(chosen) <= set(known):
        names = ", ".join(chosen) or "none"
        raise DataError(f"subjects {names}: choose some of {', '.join(known)}, each once")


def check_frames(frames: int) -> None:
    """Check that recordings of so many frames can be made.

    Raises:
        DataError: If they cannot.
    """
    if frames < MIN_FRAMES:
        raise DataError(f"frames {frames} must be at least {MIN_FRAMES}")


def write_description(out: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``synthesis.json``: the content, and by which version it was made; returns all that it holds."""
    record = {**content, "tool_version": __version__, "code_revision": code_revision()}
    write_text(out / SYNTHETIC, json.dumps(record))
    return record
