"""Weights by whatever name a user gives them: a run's folder, a file, or a model of the registry."""

from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from langpose_dist.config import RunConfig, UserError
from langpose_dist.host.paths import cache_folder, expand_home
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.client import connect, resolve_uri
from langpose_dist.tracking.registry.pull import pull
from langpose_dist.tracking.registry.references import resolve
from langpose_dist.tracking.registry.versions import RegisteredVersion


class FoundModel(NamedTuple):
    """A model on this machine."""

    weights: Path
    version: RegisteredVersion | None
    """``None`` where the name was not one of the registry."""


def find_weights(name: str, tracking_uri: str | None = None) -> Path:
    """File of some weights; see ``find_model``."""
    return find_model(name, tracking_uri).weights


def find_model(name: str, tracking_uri: str | None = None) -> FoundModel:
    """A model by its name; one of the registry is fetched into the user's cache, once per version.

    Args:
        name: Folder of a finished run, folder that a model was fetched or exported to, file, a run's
            ``checkpoints/best`` or ``checkpoints/latest``, or ``models:/NAME@ALIAS`` and the registry's other
            references.
        tracking_uri: Of the registry; default: MLflow's.

    Raises:
        UserError: If there are none, or the registry does not answer.
    """
    path = Path(expand_home(name))
    if path.is_dir():
        weights = RunFolder(path).weights
        fetched = path / "artifacts" / weights.name
        if not weights.is_file() and not fetched.is_file():
            raise UserError(f"{path} holds no finished run: {weights} does not exist")
        return FoundModel(weights if weights.is_file() else fetched, None)
    if path.is_file():
        return FoundModel(_pointed_to(path), None)
    if not name.startswith("models:/"):
        raise UserError(
            f"model {name}: no such file or run folder; a registered one is models:/NAME@ALIAS or "
            "models:/NAME/VERSION"
        )
    client = connect(resolve_uri(tracking_uri), create=False)
    version = resolve(client, name)
    cache = cache_folder("models")
    # The run tells versions of the same name in two registries apart.
    folder = cache / f"{version.name}-{version.version}-{version.run_id}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f".{folder.name}.lock"):
            return FoundModel(pull(client, name, folder).weights, version)
    except OSError as error:
        raise UserError(f"{cache} cannot be written: {error.strerror or error}") from None


def _pointed_to(path: Path) -> Path:
    """Weights of the checkpoint that a run's pointer names; any other file is the weights itself."""
    if path.absolute().parent.name != "checkpoints" or path.name not in ("best", "latest"):
        return path
    return path.parent / path.read_text(encoding="utf-8").strip() / "model.safetensors"


def with_initial_weights(config: RunConfig) -> RunConfig:
    """The configuration with the file that ``model.initial_weights`` means.

    Raises:
        UserError: As ``find_weights``.
    """
    name = config.model.initial_weights
    if name is None:
        return config
    path = str(find_weights(name, config.tracking.uri))
    return config.model_copy(update={"model": config.model.model_copy(update={"initial_weights": path})})
