"""Files that ``langpose data doctor`` looks through, and its findings in them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Finding:
    """A part of a folder that was recognised."""

    name: str
    """Data set as in ``langpose data build NAME``, or what else it is."""
    path: Path
    variant: str = ""
    """Release, layout or state, where there are several."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Numbers, words, lists of words, or words -> number."""
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """Steps that no command here does, such as a download."""
    build: tuple[str, ...] | None = None
    """Options of ``langpose data build NAME`` that read it."""
    commands: tuple[str, ...] = ()
    """To type next, quoted for a shell."""
    ready: bool = False
    """True for what can be built."""


@dataclass(frozen=True)
class Tree:
    """Files below a folder."""

    root: Path
    """Absolute."""
    files: tuple[Path, ...]
    """Sorted."""

    def ending(self, *endings: str) -> list[Path]:
        """Files with one of these endings, in lower case with the dot."""
        return [path for path in self.files if path.suffix.lower() in endings]

    def named(self, *names: str) -> list[Path]:
        """Files of these names."""
        return [path for path in self.files if path.name in names]

    def common_folder(self, folders: Iterable[Path]) -> Path:
        """The lowest folder that holds all of these, not above the root."""
        common = Path(os.path.commonpath(list(folders)))
        return common if common.is_relative_to(self.root) else self.root


def group(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Group files by folder."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent, []).append(path)
    return groups
