"""One data set as the commands see it. Import nothing heavy here: every start of ``langpose`` does."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langpose_dist.host.arguments import local_path, positive_number

if TYPE_CHECKING:
    from langpose_dist.datasets.clip import Found
    from langpose_dist.datasets.finding import Finding, Tree

MIN_FPS, MAX_FPS = 0.1, 1000.0
"""Frame rates that shards may have, frames per second."""


@dataclass(frozen=True)
class Search:
    """Result of looking through the input."""

    dataset: str
    """Name of the data set."""
    found: "Found[Any]"
    options: Mapping[str, Any]
    """Everything else that decides the content of the shards; kept in the manifest."""


SYNTHETIC = "synthesis.json"
"""Description that ``langpose data synthesize`` leaves beside the files that it makes."""


def name_of(dataset: str, path: Path) -> str:
    """Name of the data set in some files; generated ones are never taken for recordings."""
    folder = path if path.is_dir() else path.parent
    return f"synthetic-{dataset}" if (folder / SYNTHETIC).is_file() else dataset


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set: its options, how its clips are found, and how a folder of it is recognised."""

    name: str
    summary: str
    """One line for the help."""
    files: str
    """Names or layout of its files, by which people and the doctor know it."""
    epilog: str
    """An example and what the options mean."""
    find: Callable[[argparse.Namespace], Search]
    recognise: Callable[["Tree"], "Iterable[Finding]"]
    """Findings in a folder; those that set ``build`` are tried out by the doctor."""
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    fields: tuple[str, ...]
    """Fields for split rules, or some of them."""
    example_rule: str
    """``field=value,value``."""
    fps: float = 30.0
    """Default frame rate of the shards."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add all arguments that ``find`` needs."""
        parser.add_argument(
            "--input", type=local_path, required=True, metavar="DIR", help=f"folder with {self.files}"
        )
        self.add_options(parser)
        parser.add_argument(
            "--fps",
            type=frame_rate,
            default=self.fps,
            help=f"frames per second of the shards (default: {self.fps:g})",
        )

    def find_by(self, words: Sequence[str]) -> "Found[Any]":
        """Find clips by the words of a command line.

        Raises:
            UserError: If a build with them would fail.
        """
        parser = argparse.ArgumentParser(prog=f"langpose data build {self.name}", allow_abbrev=False)
        self.add_arguments(parser)
        return self.find(parser.parse_args(words)).found


def frame_rate(text: str) -> float:
    """Parse a number of frames per second."""
    rate = positive_number(text)
    if not MIN_FPS <= rate <= MAX_FPS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a rate from {MIN_FPS:g} to {MAX_FPS:g}")
    return rate
