"""Fetching a registered model: nothing is believed that its hashes do not confirm."""

import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from tqdm import tqdm

from langpose_dist.config import UserError
from langpose_dist.tracking.client import explained
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.registry.registration import hash_file
from langpose_dist.tracking.registry.versions import RegisteredVersion

_LEFT_BY_LOADING = ("registered_model_meta", "__pycache__")
"""What MLflow and Python write into a folder that a model is loaded from; never fetched."""
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Pulled:
    """A model in a folder, verified."""

    version: RegisteredVersion
    folder: Path
    is_new: bool
    """False if the folder held exactly this version already."""

    @property
    def weights(self) -> Path:
        """For ``langpose evaluate --weights``."""
        return self.folder / next(name for name in self.version.files if name.endswith(".safetensors"))


def pull(client: MlflowClient, reference: str, folder: Path) -> Pulled:
    """Fetch a version's files and publish them under a folder, all of them or none.

    Args:
        client: From ``connect``.
        reference: Of the version.
        folder: Must not exist, or hold exactly this version.

    Raises:
        UserError: If the version has no hashes, a file is missing, changed, too much or named so that it
            would lie outside the folder, the folder holds something else, or the store does not answer.
    """
    version = resolve(client, reference)
    _check_names(version)
    folder = folder.absolute()
    if folder.is_symlink() or folder.exists():
        is_folder = folder.is_dir() and not folder.is_symlink()
        if problem := _find_problem(folder, version.files) if is_folder else "it is no folder":
            raise UserError(
                f"{folder} is there and does not hold {version.label}: {problem}; choose another folder"
            )
        return Pulled(version, folder, is_new=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place, so that a rename publishes it whole.
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        with explained(f"{version.label} cannot be fetched"):
            _download(client, version, aside)
        if problem := _find_problem(aside, version.files):
            raise UserError(f"{version.label} is not what was registered: {problem}; nothing was kept")
        aside.chmod(0o755)  # a model is for others to read, too
        try:
            aside.rename(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Pulled(version, folder, is_new=True)


def _check_names(version: RegisteredVersion) -> None:
    """What the registry says is written by others."""
    if not any(name.endswith(".safetensors") for name in version.files):
        raise UserError(
            f"{version.label} has no record of its files' hashes and cannot be verified: langpose did not "
            "register it; langpose registry register RUN_DIR does"
        )
    for name in version.files:
        _check_name(name, version)


def _check_name(name: str, version: RegisteredVersion) -> None:
    parts = PurePosixPath(name).parts
    # A drive or another spelling of the same file is no name that registration ever writes.
    if not parts or ".." in parts or "/".join(parts) != name or name[0] == "/" or set(name) & set("\\:\0"):
        raise UserError(
            f"{version.label} has a file {name!r}, whose name leads out of its folder; nothing was kept"
        )
    if not name.isprintable():  # it is printed when all is fetched
        raise UserError(
            f"{version.label} has a file {name!r}, whose name holds control characters; nothing was kept"
        )


def _download(client: MlflowClient, version: RegisteredVersion, aside: Path) -> None:
    # Not through models:/, which MLflow resolves at its global address instead of the client's.
    source = client.get_model_version_download_uri(version.name, str(version.version))
    repository = get_artifact_repository(source, tracking_uri=client.tracking_uri)
    sizes = _list_files(repository, version)
    if extra := sorted(sizes.keys() - version.files.keys()):
        raise UserError(
            f"{version.label} is not what was registered: {extra[0]!r} is too much; nothing was kept"
        )
    with tqdm(total=sum(sizes.values()), unit="B", unit_scale=True, desc=version.label, leave=False) as shown:
        for name in version.files:
            if name not in sizes:
                raise UserError(
                    f"{version.label} is not what was registered: {name!r} is gone; nothing was kept"
                )
            _download_file(repository, name, aside, shown)


def _list_files(repository: ArtifactRepository, version: RegisteredVersion) -> dict[str, int]:
    """Size of every stored file in bytes, by its path."""
    sizes: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for entry in repository.list_artifacts(folders.pop()):
            if PurePosixPath(entry.path).name in _LEFT_BY_LOADING:
                continue
            _check_name(entry.path, version)
            if entry.is_dir:
                folders.append(entry.path)
            else:
                sizes[entry.path] = entry.file_size or 0
    return sizes


def _download_file(repository: ArtifactRepository, name: str, aside: Path, shown: tqdm) -> None:
    """Fetch one file, showing how it grows: MLflow tells nothing before it is whole."""
    before, target = shown.n, aside / name
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_SECONDS_BETWEEN_LOOKS):
            size = target.stat().st_size if target.exists() else 0
            shown.update(before + size - shown.n)

    watcher = threading.Thread(target=watch, name="pull", daemon=True)
    watcher.start()
    try:
        repository.download_artifacts(name, str(aside))
    finally:
        ended.set()
        watcher.join()
    shown.update(before + target.stat().st_size - shown.n)


def _find_problem(folder: Path, files: Mapping[str, str]) -> str | None:
    """How a folder differs from the recorded files; ``None`` if it does not."""
    found = set()
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_BY_LOADING]
        for name in (*names, *(name for name in folders if (Path(parent) / name).is_symlink())):
            path = Path(parent) / name
            inside = path.relative_to(folder).as_posix()
            if path.is_symlink() or not path.is_file():
                return f"{inside!r} is no plain file"
            if name not in _LEFT_BY_LOADING:
                found.add(inside)
    if extra := sorted(found - files.keys()):
        return f"{extra[0]!r} is too much"
    for name, digest in files.items():
        if name not in found:
            return f"{name!r} is missing"
        if hash_file(folder / name) != digest:
            return f"{name!r} has another SHA-256"
    return None
