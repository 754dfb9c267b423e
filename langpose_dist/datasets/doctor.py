"""Diagnoses a folder: the data it holds, whether they can be built, and the next command."""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.build import count_reasons
from langpose_dist.datasets.files import list_files
from langpose_dist.datasets.finding import Finding, Tree
from langpose_dist.datasets.registry import SOURCES
from langpose_dist.datasets.source import Source
from langpose_dist.datasets.splits import assign_splits


@dataclass(frozen=True)
class Report:
    """Result of looking through a folder."""

    root: Path
    findings: tuple[Finding, ...]
    endings: dict[str, int]
    """Ending -> number of files, most frequent first."""

    @property
    def ready(self) -> tuple[str, ...]:
        """Names of what can be built."""
        return tuple(finding.name for finding in self.findings if finding.ready)


def examine(folder: Path, say: Callable[[str], Any] = lambda text: None) -> Report:
    """Look through a folder; nothing in it can run, and nothing is written.

    Args:
        folder: Of one or several data sets, at any depth.
        say: Told of what takes a while.

    Raises:
        DataError: If there is no such folder.
    """
    if not folder.is_dir():
        problem = "is a file; name the folder that it lies in" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {problem}")
    root = folder.resolve()
    files, num_system, broken = list_files(root)
    tree = Tree(root, tuple(files))
    findings = [
        _try_build(finding, source, number, say)
        for source in SOURCES
        for number, finding in enumerate(source.recognise(tree), 1)
    ]
    endings = Counter(path.suffix.lower() or "(none)" for path in tree.files)
    if num_system:
        endings["(system)"] = num_system
    if broken:
        endings["(broken link)"] = len(broken)
    return Report(root, tuple(findings), dict(endings.most_common()))


def _try_build(finding: Finding, source: Source, number: int, say: Callable[[str], Any]) -> Finding:
    """The finding with the clips that its build command begins with, or with the reason why it fails."""
    if finding.build is None:
        return finding
    # No two commands write to the same folder.
    out = f"shards/{source.name}{f'-{number}' if number > 1 else ''}"
    command = shlex.join(("langpose", "data", "build", source.name, *finding.build, "--out", out))
    say(f"trying {command}")
    try:
        found = source.find_by(finding.build)
    except UserError as error:
        return dataclasses.replace(finding, problems=(*finding.problems, str(error)))
    facts = {
        **finding.facts,
        "build": dict(Counter(split for split, _ in assign_splits(found.clips, []))),
        "skipped": count_reasons(found.skipped),
    }
    if not found.clips:
        problem = "a build would find no clip"
        if found.skipped:
            problem += f": {found.skipped[0].source}: {found.skipped[0].reason}"
        return dataclasses.replace(finding, facts=facts, problems=(*finding.problems, problem))
    return dataclasses.replace(finding, facts=facts, commands=(command,), ready=True)
