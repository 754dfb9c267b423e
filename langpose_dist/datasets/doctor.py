"""Diagnoses a folder: the data it holds, whether they can be built, and the next command."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.data.manifest import MANIFEST, Manifest
from langpose_dist.data.sample import DataError
from langpose_dist.datasets.build import WORK, count_reasons
from langpose_dist.datasets.files import list_files
from langpose_dist.datasets.finding import Finding, Tree, group
from langpose_dist.datasets.registry import SOURCES
from langpose_dist.datasets.source import Source
from langpose_dist.datasets.splits import assign_splits

_SHARD = re.compile(r"[a-z][a-z0-9_-]*-\d{6}[.]tar")
_ARCHIVE = re.compile(r"(?P<stem>.+?)[.](tar|tar[.](bz2|gz|xz|zst)|tgz|tbz2?|txz|zip|7z|rar)", re.IGNORECASE)


@dataclass(frozen=True)
class Report:
    """Result of looking through a folder."""

    root: Path
    findings: tuple[Finding, ...]
    endings: dict[str, int]
    """Ending -> number of files, most frequent first."""

    @property
    def ready(self) -> tuple[str, ...]:
        """Names of what is built or can be."""
        return tuple(finding.name for finding in self.findings if finding.ready and finding.commands)


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
    tree = Tree(root, tuple(list_files(root)))
    findings = [
        _try_build(finding, source, number, say)
        for source in SOURCES
        for number, finding in enumerate(source.recognise(tree), 1)
    ]
    findings += [*_recognise_shards(tree), *_recognise_archives(tree)]
    endings = Counter(path.suffix.lower() or "(none)" for path in tree.files)
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


def _recognise_shards(tree: Tree) -> Iterator[Finding]:
    """Shards of this package: complete, interrupted, or without their manifest."""
    for folder, paths in group(path for path in tree.ending(".tar") if _SHARD.fullmatch(path.name)).items():
        if (folder / MANIFEST).is_file():
            yield _shards(folder)
        elif folder.name != WORK:
            problem = f"no {MANIFEST}: nothing can read these {len(paths)} shards"
            advice = f"copy {MANIFEST} from where the shards came, or build them again"
            yield Finding("shards", folder, "without a manifest", problems=(problem,), advice=(advice,))
        elif not (folder.parent / MANIFEST).is_file():
            problem = "the build was interrupted, or is still running"
            advice = "if it is not running, give the same `langpose data build` command again: it resumes"
            yield Finding("shards", folder.parent, "unfinished build", problems=(problem,), advice=(advice,))


def _shards(folder: Path) -> Finding:
    try:
        manifest = Manifest.load(folder)
    except DataError as error:
        advice = "build the data again, or fetch a whole copy"
        return Finding("shards", folder, "damaged", problems=(str(error),), advice=(advice,))
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.tar")}
    wrong = [shard.name for shard in manifest.shards if sizes.get(shard.name) != shard.num_bytes]
    facts = {
        "dataset": manifest.dataset,
        "clips": {name: split.num_samples for name, split in manifest.splits.items()},
    }
    if wrong:
        problem = f"{len(wrong)} of {len(manifest.shards)} shards are missing or not whole, {wrong[0]} first"
        advice = "copy them again, or build again with --overwrite"
        command = f"langpose data verify {shlex.quote(str(folder))}"
        return Finding("shards", folder, "incomplete", facts, (problem,), (advice,), commands=(command,))
    command = f"langpose data inspect {shlex.quote(str(folder))}"
    return Finding("shards", folder, "complete", facts, commands=(command,), ready=True)


def _recognise_archives(tree: Tree) -> Iterator[Finding]:
    """Archives, except those whose content lies beside them under their name."""
    unpacked = {part.name for path in tree.files for part in (path, *path.parents)}
    archives = [
        path
        for path in tree.files
        if (match := _ARCHIVE.fullmatch(path.name))
        and match["stem"] not in unpacked
        and not _SHARD.fullmatch(path.name)
        and path.name != "texts.zip"
    ]
    for folder, paths in group(archives).items():
        facts = {"files": [f"{path.name} ({path.stat().st_size / 1e6:,.0f} MB)" for path in paths]}
        problem = "nothing is read from archives"
        advice = "unpack each into a folder of its own, the subsets of AMASS side by side, then ask again"
        yield Finding("archives", folder, "not unpacked", facts, (problem,), (advice,))
