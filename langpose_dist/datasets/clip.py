"""Interface between sources and the builder: clips that were found and can be read."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from langpose_dist.config import UserError
from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample
from langpose_dist.datasets.files import to_text
from langpose_dist.datasets.person import SIZES, check_person


class SharedFileError(DataError):
    """Unusable file that every clip needs; ends the build instead of skipping clip after clip."""


@runtime_checkable
class Clip(Protocol):
    """A clip that was found and can be read.

    A frozen dataclass of plain values, which is sent to other processes: ``load`` reads what is large.
    """

    @property
    def key(self) -> str:
        """Key of its sample."""
        ...

    @property
    def source(self) -> str:
        """Its file, relative to the input folder."""
        ...

    @property
    def path(self) -> Path:
        """File to read it from."""
        ...

    @property
    def split(self) -> str | None:
        """Split that the data set itself puts it into: train, validation or test; ``None`` if it does not."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Properties known before reading, as words: action, style and so on."""
        ...

    def load(self) -> Sample:
        """Read it; a ``UserError`` other than ``SharedFileError`` is the reason for skipping it."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileClip(ABC):
    """Abstract ``Clip`` that is read from a file and resampled; a source says how by ``read``."""

    path: Path
    source: str
    key: str
    fields: Mapping[str, str]
    split: str | None
    fps: float
    """Rate of the sample."""
    spares: tuple[Self, ...] = ()
    """Other files of the same key, for the case that this one is of no use."""

    @abstractmethod
    def read(self) -> Sample:
        """Read the file."""

    @property
    def sizes(self) -> tuple[float, float]:
        """Sizes of the source's people; see ``check_person``."""
        return SIZES

    def load(self) -> Sample:
        """Read the file, or else the first spare that is of use, and check that it shows a person.

        Raises:
            UserError: With the reason why the clip is skipped.
            OSError: If it cannot be read.
        """
        try:
            sample = self.read()
            check_person(_counted_frames(sample), self.sizes)
            return sample
        except (UserError, OSError) as error:
            if isinstance(error, SharedFileError) or not self.spares:
                raise
            reason = reason_of(error, self.path)
        spare, *others = self.spares
        sample = replace(spare, spares=tuple(others)).load()
        return replace(sample, left_out=(f"{reason}; {spare.source} is used in its place", *sample.left_out))


def _counted_frames(sample: Sample) -> np.ndarray:
    """Poses of the frames that the data set vouches for."""
    ranges = sample.meta.get("valid_frames")
    return np.concatenate([sample.poses_3d[a:b] for a, b in ranges]) if ranges else sample.poses_3d


def reason_of(error: Exception, path: Path) -> str:
    """Reason for skipping a file, ``kind: detail``; the kind is the same for all files."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return f"unreadable file: {error}" if str(error).startswith(str(path)) else str(error)


FileClipT = TypeVar("FileClipT", bound=FileClip)


def one_per_key(clips: Iterable[FileClipT]) -> tuple[list[FileClipT], list[Skipped]]:
    """The first clip of each key, with the later ones as its spares; and these as duplicates."""
    groups: dict[str, list[FileClipT]] = {}
    for clip in clips:
        groups.setdefault(clip.key, []).append(clip)
    duplicates = [
        Skipped(source=spare.source, reason=f"duplicate clip: same key as {first.source}")
        for first, *spares in groups.values()
        for spare in spares
    ]
    firsts = [replace(first, spares=tuple(spares)) for first, *spares in groups.values()]
    return firsts, duplicates


def make_clips(
    paths: Iterable[Path], folder: Path, make: Callable[[Path, str], FileClipT]
) -> tuple[list[FileClipT], list[Skipped]]:
    """One clip per key, in the order of the files; and the files of no use, duplicates last.

    Args:
        paths: Files below the folder.
        folder: The input.
        make: Makes the clip of a file and its source; a ``DataError`` is the reason for skipping it.
    """
    clips: list[FileClipT] = []
    skipped: list[Skipped] = []
    for path in paths:
        source = to_text(path.relative_to(folder))
        try:
            clips.append(make(path, source))
        except DataError as error:
            skipped.append(Skipped(source=source, reason=str(error)))
    firsts, duplicates = one_per_key(clips)
    return firsts, [*skipped, *duplicates]


ClipT = TypeVar("ClipT", bound=Clip)


@dataclass(frozen=True)
class Found(Generic[ClipT]):
    """Content of a source's folder or file."""

    clips: tuple[ClipT, ...]
    """In a fixed order, keys unique."""
    skipped: tuple[Skipped, ...] = ()
    """Sources dropped before reading, each with its reason."""
    num_ignored: int = 0
    """Files of other kinds in the input."""
