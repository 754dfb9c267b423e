"""The model registry: register exported weights, and look registered versions up."""

import importlib.metadata
import json
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from langpose_dist import __version__
from langpose_dist.config import RunConfig, UserError
from langpose_dist.environment import redact
from langpose_dist.skeleton import H36M17
from langpose_dist.tracking.client import explained

_MODEL_CODE = Path(__file__).with_name("pyfunc.py")
_RUNTIME_PACKAGES = ("mlflow", "torch", "numpy", "pydantic", "pyyaml", "jaxtyping", "safetensors")
_DESCRIPTION = (
    "LangPose. Input: float32 (clips, frames, 17, 3), 2D keypoints as x, y in half image widths from the "
    "image centre (y down) and confidence, skeleton h36m17. Output: float32 (clips, frames, 17, 3), camera "
    "axes (x right, y down, z forward), pelvis near 0, metres."
)


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    name: str
    version: int
    aliases: tuple[str, ...]
    created: str
    """ISO 8601, UTC."""
    run_id: str | None
    status: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """The run's latest values when the model was registered."""


@dataclass(frozen=True)
class RegisteredName:
    """A registered model with its versions, newest first."""

    name: str
    versions: tuple[int, ...]
    aliases: Mapping[str, int]


def check_name(name: str, alias: str) -> None:
    """Make sure that ``models:/NAME@ALIAS`` can be addressed.

    Raises:
        UserError: If the registry would refuse the name or the alias.
    """
    if not name.strip() or re.search(r"[/:@'\"]", name):
        raise UserError(f"tracking.register_as={name!r} must not be empty or hold any of / : @ ' \"")
    if not re.fullmatch(r"[\w-]+", alias) or re.fullmatch(r"latest|[vV]\d+", alias):
        raise UserError(
            f"tracking.alias={alias!r} must consist of letters, digits, _ and -, and not be 'latest' or 'v1'"
        )


def register_model(
    client: MlflowClient,
    *,
    run_id: str,
    weights: Path,
    config: RunConfig,
    name: str,
    alias: str,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> str:
    """Store a model with a run, register it as a new version and point the alias at it.

    The model holds its code as text, the weights as safetensors, and ``config.yaml`` and ``metrics.json``
    beside them; it is loaded by ``mlflow.pyfunc.load_model("models:/NAME@ALIAS")`` without pickle.

    Args:
        client: From ``connect``.
        run_id: Run that the weights come from.
        weights: Exported safetensors.
        config: The run's configuration.
        name: Name in the registry; created where it is new.
        alias: Moves to the new version.
        metrics: Recorded with the version.
        tags: Set on the version, such as data fingerprint, configuration hash and commit.

    Returns:
        ``"NAME/VERSION"``.

    Raises:
        UserError: If there are no such weights, or the name or alias is none.
    """
    check_name(name, alias)
    if not weights.is_file():
        raise UserError(f"there are no weights {weights}; export them first")
    tags = {**tags, "metrics": json.dumps(dict(sorted(metrics.items())))}
    experiment_id = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(
        experiment_id, name="model", source_run_id=run_id, tags=tags, model_type="pose lifting"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "config.yaml").write_text(redact(config.to_yaml()), encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(dict(metrics), indent=2), encoding="utf-8")
        with warnings.catch_warnings():
            # MLflow warns of its own type hints when its module is imported, and wants an example of the
            # input although a signature is given.
            warnings.filterwarnings("ignore", ".*(type hint|input example)", UserWarning)
            pyfunc.save_model(
                folder / "model",
                python_model=_MODEL_CODE,
                artifacts={
                    "weights": str(weights),
                    "config": str(folder / "config.yaml"),
                    "metrics": str(folder / "metrics.json"),
                },
                signature=_signature(),
                pip_requirements=_requirements(),
                mlflow_model=Model(
                    artifact_path=model.artifact_location,
                    model_uuid=model.model_id,
                    run_id=run_id,
                    model_id=model.model_id,
                ),
            )
        client.log_model_artifacts(model.model_id, str(folder / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # A database resolves models:/ID through MLflow's global address instead of the client's own; a server
    # takes nothing else.
    is_server = urlsplit(client.tracking_uri).scheme in ("http", "https")
    version = client.create_model_version(
        name,
        source=f"models:/{model.model_id}" if is_server else model.artifact_location,
        run_id=run_id,
        tags=tags,
        description=_DESCRIPTION,
        model_id=model.model_id,
    ).version
    client.set_registered_model_alias(name, alias, str(version))
    return f"{name}/{version}"


def list_models(client: MlflowClient) -> list[RegisteredName]:
    """Every registered model, by name."""
    models: list[RegisteredModel] = []
    token: str | None = None
    with explained("the registry cannot be read"):
        while token is None or token:
            page = client.search_registered_models(page_token=token)
            models += page
            token = page.token or ""
        return [
            RegisteredName(
                model.name,
                tuple(int(version.version) for version in _versions(client, model.name)),
                {alias: int(version) for alias, version in sorted(model.aliases.items())},
            )
            for model in sorted(models, key=lambda model: model.name)
        ]


def find_versions(client: MlflowClient, name: str, alias: str | None = None) -> list[RegisteredVersion]:
    """The versions of a registered model, newest first; with an alias, the one that it points at.

    Raises:
        UserError: If the registry has no such name or alias; the message names those it has.
    """
    with explained("the registry cannot be read"):
        model = _find_model(client, name)
        aliases = {alias: int(version) for alias, version in model.aliases.items()}
        if alias is not None and alias not in aliases:
            raise UserError(
                f"model {name!r} has no alias {alias!r}; it has {', '.join(sorted(aliases)) or 'none'}"
            )
        return [
            _describe(version, aliases)
            for version in _versions(client, name)
            if alias is None or int(version.version) == aliases[alias]
        ]


def _find_model(client: MlflowClient, name: str) -> RegisteredModel:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
    names = ", ".join(model.name for model in list_models(client))
    raise UserError(f"the registry has no model {name!r}; it has {names or 'none'}")


def _versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    versions: list[ModelVersion] = []
    token: str | None = None
    quote = '"' if "'" in name else "'"
    while token is None or token:
        page = client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        versions += page
        token = page.token or ""
    return sorted(versions, key=lambda version: -int(version.version))


def _describe(version: ModelVersion, aliases: Mapping[str, int]) -> RegisteredVersion:
    number = int(version.version)
    tags = dict(version.tags)
    metrics = json.loads(tags.pop("metrics", "{}"))
    return RegisteredVersion(
        name=version.name,
        version=number,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        run_id=version.run_id or None,
        status=version.status,
        tags=tags,
        metrics=metrics,
    )


def _signature() -> ModelSignature:
    clips = Schema([TensorSpec(np.dtype(np.float32), (-1, -1, H36M17.num_joints, 3))])
    return ModelSignature(inputs=clips, outputs=clips)


def _requirements() -> list[str]:
    # Said outright, or MLflow runs the model for minutes to find out. A local label such as +cpu is no
    # version that an index has.
    installed = {name: importlib.metadata.version(name).partition("+")[0] for name in _RUNTIME_PACKAGES}
    return [f"langpose-dist=={__version__}", *(f"{name}=={version}" for name, version in installed.items())]
