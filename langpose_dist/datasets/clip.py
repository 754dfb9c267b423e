"""Interface between sources and the builder: clips that were found and can be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample


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
class FileClip:
    """Fields of a ``Clip`` that is read from a file and resampled."""

    path: Path
    source: str
    key: str
    fields: Mapping[str, str]
    split: str | None
    fps: float
    """Rate of the sample."""


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
