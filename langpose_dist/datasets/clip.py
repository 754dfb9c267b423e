"""What a source offers to the builder: clips that were found and can be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from langpose_dist.data.manifest import Skipped
from langpose_dist.data.sample import DataError, Sample


class SharedFileError(DataError):
    """A file that every clip needs cannot be used: the build ends instead of skipping clip after clip."""


@runtime_checkable
class Clip(Protocol):
    """A clip that was found and can be read.

    A frozen dataclass of plain values, which travels to other processes: whatever is large is read by
    ``load``.
    """

    @property
    def key(self) -> str:
        """Key of the sample that it becomes."""
        ...

    @property
    def source(self) -> str:
        """Its file, relative to the input folder."""
        ...

    @property
    def path(self) -> Path:
        """The file that it is read from."""
        ...

    @property
    def split(self) -> str | None:
        """The split that the data set itself puts it into: train, validation or test; ``None`` where it
        has no say."""
        ...

    @property
    def fields(self) -> Mapping[str, str]:
        """What is known before reading, as words: action, style and so on."""
        ...

    def load(self) -> Sample:
        """Read it; a ``UserError`` is the reason why it is skipped, but for a ``SharedFileError``."""
        ...


ClipT = TypeVar("ClipT", bound=Clip)


@dataclass(frozen=True)
class Found(Generic[ClipT]):
    """What a source's folder or file holds."""

    clips: tuple[ClipT, ...]
    """In a fixed order, keys unique."""
    skipped: tuple[Skipped, ...] = ()
    """Sources given up before reading, each with its reason."""
    num_ignored: int = 0
    """Files of other kinds that were seen."""
