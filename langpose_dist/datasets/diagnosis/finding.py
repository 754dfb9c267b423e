"""What the doctor looks at, and what it says of a part that it recognised."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.datasets.build import count_reasons
from langpose_dist.datasets.clip import Found
from langpose_dist.datasets.splits import assign_splits

LARGE = 200_000_000
"""Bytes of a file that takes a while to read."""

Words = tuple[str, ...]
"""A command, word by word."""


@dataclass(frozen=True)
class Finding:
    """A part that was recognised."""

    kind: str
    """Short name, for programs."""
    name: str
    variant: str
    """Which release, layout or state; empty where there is one only."""
    path: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Counts and names: numbers, words, lists of words, or words -> number."""
    problems: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """What to do that no command here does, such as a download."""
    commands: tuple[Words, ...] = ()
    """What to type next."""
    ready: bool = False
    """Whether it can be built from, or is built."""


@dataclass(frozen=True)
class Tools:
    """What the caller lends: the builder's own search, and signs of life."""

    find: Callable[[Words], Found[Any]]
    """Clips that ``langpose data build ...`` would begin with; a ``UserError`` is why it would not."""
    say: Callable[[str], Any]
    """Told of what takes a while."""
    watch: Callable[[Sequence[Path]], Iterable[Path]]
    """Wraps files that are opened one by one."""


@dataclass(frozen=True)
class Tree:
    """Files below a folder. Links to folders are followed where they lie in the folder itself."""

    root: Path
    files: tuple[Path, ...]
    """Sorted."""
    folders: frozenset[Path]
    unreadable: tuple[Path, ...]
    """Folders without access."""

    @classmethod
    def scan(cls, root: Path) -> "Tree":
        """List all of them; nothing is opened."""
        files: list[Path] = []
        folders: set[Path] = set()
        unreadable: list[Path] = []
        linked = [path for path in root.iterdir() if path.is_symlink() and path.is_dir()]
        for start in (root, *linked):
            walk = os.walk(start, onerror=lambda error: unreadable.append(Path(error.filename)))
            for folder, _, names in walk:
                folders.add(Path(folder))
                files += [Path(folder, name) for name in names]
        return cls(root, tuple(sorted(files)), frozenset(folders), tuple(unreadable))

    def without(self, folders: Iterable[Path]) -> "Tree":
        """The same without what lies in some folders."""
        left_out = set(folders)

        def is_left(path: Path) -> bool:
            return left_out.isdisjoint((path, *path.parents))

        files = tuple(path for path in self.files if is_left(path))
        return Tree(self.root, files, frozenset(filter(is_left, self.folders)), self.unreadable)

    @cached_property
    def _by_ending(self) -> Mapping[str, tuple[Path, ...]]:
        found: dict[str, list[Path]] = {}
        for path in self.files:
            found.setdefault(path.suffix.lower(), []).append(path)
        return {ending: tuple(paths) for ending, paths in found.items()}

    def ending(self, *endings: str) -> tuple[Path, ...]:
        """Files with one of these endings, in lower case with the dot."""
        return tuple(path for ending in endings for path in self._by_ending.get(ending, ()))

    def named(self, *names: str) -> tuple[Path, ...]:
        """Files of these names."""
        return tuple(path for path in self.files if path.name in names)

    def endings(self) -> dict[str, int]:
        """Ending -> number of files, most frequent first."""
        return dict(Counter(path.suffix.lower() or "(none)" for path in self.files).most_common())


def common_folder(folders: Iterable[Path], root: Path) -> Path:
    """The lowest folder that holds all of these, and not above ``root``."""
    common = Path(os.path.commonpath(list(folders)))
    return common if common.is_relative_to(root) else root


def group(paths: Iterable[Path]) -> dict[Path, list[Path]]:
    """Files by their folder."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent, []).append(path)
    return groups


def try_build(tools: Tools, words: Words) -> tuple[Found[Any] | None, dict[str, Any], tuple[str, ...]]:
    """What a build would begin with.

    Args:
        tools: The builder's search.
        words: The command.

    Returns:
        The clips, ``None`` if there would be none; facts; and problems.
    """
    try:
        found = tools.find(words)
    except UserError as error:
        return None, {}, (str(error),)
    facts: dict[str, Any] = {
        "build": dict(Counter(split for split, _ in assign_splits(found.clips, []))) if found.clips else {}
    }
    if found.skipped:
        facts["skipped"] = count_reasons(found.skipped)
    if not found.clips:
        first = f": {found.skipped[0].source}: {found.skipped[0].reason}" if found.skipped else ""
        return None, facts, (f"a build would find no clip{first}",)
    return found, facts, ()


def size_of(path: Path) -> str:
    """Size of a file in words."""
    return f"{path.stat().st_size / 1e6:,.0f} MB"


def build_finding(
    tools: Tools,
    kind: str,
    name: str,
    variant: str,
    path: Path,
    words: Words,
    facts: Mapping[str, Any] | None = None,
    problems: tuple[str, ...] = (),
) -> Finding:
    """A part that needs no other parts to be built from; ``words`` is the command that does it."""
    found, counts, wrong = try_build(tools, words)
    return Finding(
        kind=kind,
        name=name,
        variant=variant,
        path=path,
        facts={**(facts or {}), **counts},
        problems=(*problems, *wrong),
        commands=(words,) if found else (),
        ready=found is not None,
    )


def build_command(source: str, path: Path, *options: str, out: str | None = None) -> Words:
    """``langpose data build SOURCE --input PATH ... --out shards/SOURCE``."""
    out_folder = f"shards/{out or source}"
    return ("langpose", "data", "build", source, "--input", str(path), *options, "--out", out_folder)
