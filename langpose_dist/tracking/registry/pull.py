"""Download of a registered model, verified by its hashes."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from langpose_dist.config import UserError
from langpose_dist.host.atomic import hash_file
from langpose_dist.tracking.client import explained, settings
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.registry.versions import RegisteredVersion

_LEFT_BY_LOADING = ("registered_model_meta", "__pycache__")
"""Files that MLflow and Python write into a folder that a model is loaded from; never fetched."""


@dataclass(frozen=True)
class Pulled:
    """A model in a folder, verified."""

    version: RegisteredVersion
    folder: Path
    is_new: bool
    """False if the folder held exactly this version already."""

    @property
    def weights(self) -> Path:
        """For ``langpose evaluate``."""
        return self.folder / next(name for name in self.version.files if name.endswith(".safetensors"))


def pull(client: MlflowClient, reference: str, folder: Path) -> Pulled:
    """Fetch a version's files and publish them under a folder, all of them or none.

    Args:
        client: From ``connect``.
        reference: Of the version.
        folder: Must not exist, or hold exactly this version.

    Raises:
        UserError: If the version has no hashes, a file is missing, changed or too much, the folder holds
            something else, or the store does not answer.
    """
    version = resolve(client, reference)
    if not any(name.endswith(".safetensors") for name in version.files):
        raise UserError(
            f"{version.label} has no record of its files' hashes and cannot be verified: langpose did not "
            "register it; langpose registry register RUN_DIR does"
        )
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
            fetched = _download(client, version, aside)
        if problem := _find_problem(fetched, version.files):
            raise UserError(f"{version.label} is not what was registered: {problem}; nothing was kept")
        fetched.chmod(0o755)  # a model is for others to read, too
        try:
            fetched.rename(folder)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Pulled(version, folder, is_new=True)


def _download(client: MlflowClient, version: RegisteredVersion, aside: Path) -> Path:
    """Fetch all files of a version; returns the folder below ``aside`` that holds them."""
    # Not through models:/, which MLflow resolves at its global address instead of the client's.
    source = client.get_model_version_download_uri(version.name, str(version.version))
    with settings(MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="true"):
        fetched = download_artifacts(
            artifact_uri=source, dst_path=str(aside), tracking_uri=client.tracking_uri
        )
    for name in _LEFT_BY_LOADING:
        for path in Path(fetched).rglob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return Path(fetched)


def _find_problem(folder: Path, files: Mapping[str, str]) -> str | None:
    """First difference of a folder from the recorded files; ``None`` if there is none."""
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
