"""Sources of a report: folders of runs, and files that other commands wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics

UNKNOWN = "unknown"
_IDENTITY = {
    "data": (("data_fingerprint", "fingerprint"), 16),
    "configuration": (("config_hash",), 16),
    "commit": (("commit",), 12),
}
"""Keys that hold a report's identity, and digits that are printed."""
_KINDS = {
    "protocol": {"protocol", "data", "models", "improvements", "commit"},
    "conditions": {"conditions", "protocol", "split", "commit"},
    "model": {"parts", "total", "notes", "batch_size", "num_frames"},
}
"""Keys of the reports that are no analysis."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    name: str
    """Its folder's name, or its path where two have one name."""
    folder: RunFolder
    config: RunConfig
    evaluation: Mapping[str, Any]
    """Content of ``evaluation.json``; empty before the first evaluation."""
    record: Mapping[str, Any]
    """Environment and tracking record."""
    lines: Sequence[Mapping[str, float | int]]
    """Metrics."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Versions and machine of the training."""
        return self.record.get("environment", {})

    @property
    def commit(self) -> str:
        """Commit of the training."""
        return self.environment.get("git_commit", UNKNOWN)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the data."""
        return self.evaluation.get("data_fingerprint", UNKNOWN)


@dataclass(frozen=True)
class Material:
    """One JSON report of a command."""

    path: Path
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """``protocol``, ``conditions``, ``model``, or the analysis that made it; empty if nothing says so."""
        if "analysis" in self.content:
            return str(self.content["analysis"])
        return next((kind for kind, keys in _KINDS.items() if keys <= self.content.keys()), "")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read the folders of runs, finished or not.

    Raises:
        UserError: If one is no run's folder, or named twice.
    """
    names = [path.resolve().name for path in folders]
    if twice := [path for path in folders if [*map(Path.resolve, folders)].count(path.resolve()) > 1]:
        raise UserError(f"{twice[0]} is named twice")
    return [
        _read_run(path, name if names.count(name) == 1 else str(path))
        for path, name in zip(folders, names, strict=True)
    ]


def _read_run(path: Path, name: str) -> Run:
    folder = RunFolder(path)
    if (path / "sweep.json").exists():
        raise UserError(f"{path} is the folder of a sweep; use langpose report sweep {path}")
    if not folder.config.is_file():
        raise UserError(f"{path} is no run's folder: it holds no {folder.config.name}")
    return Run(
        name=name,
        folder=folder,
        config=load_config(folder.config),
        evaluation=folder.read_evaluation() or {},
        record=folder.read_record(),
        lines=read_metrics(folder.metrics),
    )


def read_material(path: Path) -> Material:
    """Read a JSON report.

    Raises:
        UserError: If it holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; give what a command wrote with --out FILE") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, as a command writes it with --out FILE")
    return Material(path, content)


def origin_of(material: Material, runs: Sequence[Run]) -> str:
    """One line: the file, its data, configuration and commit, and where these are not the runs'."""
    known = {
        "data": {run.fingerprint for run in runs},
        "configuration": {run.config.hash() for run in runs},
        "commit": {run.commit for run in runs},
    }
    needed = ("commit",) if material.kind == "model" else ("data", "commit")
    parts = [f"from {material.path.name}"]
    for what, (keys, digits) in _IDENTITY.items():
        found = set(_values(material.content, keys))
        if what in needed and not found:
            parts.append(f"{what} not stated")
        elif found:
            others = "" if found <= known[what] else f" (differs: the run has {_join(known[what], digits)})"
            parts.append(f"{what} {_join(found, digits)}{others}")
    return "; ".join(parts)


def _join(values: set[str], digits: int) -> str:
    return ", ".join(sorted(value[:digits] for value in values))


def _values(content: Any, keys: Sequence[str]) -> Iterator[str]:
    """Texts under some keys, however deep."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in keys and isinstance(value, str):
                yield value
            else:
                yield from _values(value, keys)
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, keys)
