"""Registering a model: the stored folder, the version, its tags and its alias."""

import importlib.metadata
import json
import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from mlflow import MlflowClient, pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS, MLFLOW_PARENT_RUN_ID

from langpose_dist.config import RunConfig, UserError
from langpose_dist.config.affects import INPUT, keys_that_affect
from langpose_dist.host.atomic import hash_file
from langpose_dist.host.redaction import redact
from langpose_dist.models.weights import read_header
from langpose_dist.report.card import NO_LICENCE
from langpose_dist.tasks.task import load_task
from langpose_dist.tracking.registry.card import write_model_card
from langpose_dist.tracking.registry.code import write_code
from langpose_dist.tracking.registry.versions import Tag, check_name, search_versions
from langpose_dist.tracking.runs import MAX_DIGEST_LENGTH, dataset_name, find_values, log_metrics

_MODEL_CODE = Path(__file__).with_name("pyfunc.py")
_RUNTIME_PACKAGES = ("mlflow", "torch", "numpy", "safetensors")
"""Packages that the carried code needs to answer; pydantic, PyYAML and filelock come with them."""


def register_model(
    client: MlflowClient,
    *,
    run_id: str,
    weights: Path,
    config: RunConfig,
    name: str,
    alias: str,
    evaluation: Mapping[str, Any] | None,
    tags: Mapping[str, str],
    licence: str | None,
    parents: Sequence[str] = (),
) -> str:
    """Store a model with a run, register it as a new version and point the alias at it.

    The model holds its code (``pyfunc.py``, and this package in one file), the weights as safetensors,
    ``config.yaml``, ``evaluation.json`` and a ``model_card.md``;
    ``mlflow.pyfunc.load_model("models:/NAME@ALIAS")`` loads it without pickle.

    Calling it again for the same name, run and weights makes no second version: wherever the first call
    ended, the second resumes.

    Args:
        client: From ``connect``.
        run_id: Run that the weights come from.
        weights: Exported safetensors.
        config: The run's configuration.
        name: Name in the registry; created where it is new.
        alias: Moves to the version, unless it has moved on to a later one.
        evaluation: Content of the run's ``evaluation.json``; ``None`` if the model was never evaluated.
        tags: Set on the version, such as data fingerprint, configuration hash and commit.
        licence: Of the training data, as the user states it.
        parents: Runs or versions that the weights started from.

    Returns:
        ``"NAME/VERSION"``.

    Raises:
        UserError: If there are no such weights, or the name or alias is none.
        MlflowException: Among others, as the store raises them.
    """
    check_name(name, alias)
    if not weights.is_file():
        raise UserError(f"there are no weights {weights}; export them first")
    digest = hash_file(weights)
    content = {
        **tags,
        Tag.WEIGHTS: digest,
        Tag.EVALUATION: json.dumps(evaluation),
        Tag.SETTINGS: json.dumps(_evaluation_settings(config)),
        Tag.LICENCE: licence or NO_LICENCE,
        Tag.PARENTS: json.dumps(list(parents)),
        Tag.TASK: config.task,
        Tag.SPACE: config.target.space,
    }
    if parent := client.get_run(run_id).data.tags.get(MLFLOW_PARENT_RUN_ID):
        content[Tag.PARENT_RUN] = parent
    model = _find_logged_model(client, name, run_id, digest)
    version = _find_version(client, name, run_id, digest)
    if version is None:
        if model is None or model.status != "READY":
            model = _store_model(client, model, run_id, weights, config, name, evaluation, content)
        version = _create_version(client, name, run_id, model, config, content)
    if model is not None:  # its page then links to the version
        link = json.dumps([{"name": name, "version": version}])
        client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: link})
    _move_alias(client, name, alias, version)
    return f"{name}/{version}"


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path with forward slashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def _evaluation_settings(config: RunConfig) -> dict[str, Any]:
    """Keys that decide what the 2D input of an evaluation looks like."""
    decisive = keys_that_affect(type(config), INPUT) | {"window.num_frames"}
    return {key: value for key, value in config.to_flat().items() if key in decisive}


def _find_version(client: MlflowClient, name: str, run_id: str, digest: str) -> int | None:
    found = [
        int(version.version)
        for version in search_versions(client, f"run_id='{run_id}'")
        if version.name == name and version.tags.get(Tag.WEIGHTS) == digest
    ]
    return min(found, default=None)


def _find_logged_model(client: MlflowClient, name: str, run_id: str, digest: str) -> LoggedModel | None:
    """Model that an earlier call stored, or began to store."""
    experiment_id = client.get_run(run_id).info.experiment_id
    wanted = f"source_run_id = '{run_id}' AND tags.{Tag.WEIGHTS} = '{digest}'"
    found = [
        model
        for model in client.search_logged_models([experiment_id], wanted)
        if model.tags.get(Tag.NAME) == name
    ]
    return next((model for model in found if model.status == "READY"), found[0] if found else None)


def _store_model(
    client: MlflowClient,
    model: LoggedModel | None,
    run_id: str,
    weights: Path,
    config: RunConfig,
    name: str,
    evaluation: Mapping[str, Any] | None,
    content: Mapping[str, str],
) -> LoggedModel:
    """Upload the folder; ready only when all of it is there."""
    if model is None:
        model = client.create_logged_model(
            client.get_run(run_id).info.experiment_id,
            name="model",
            source_run_id=run_id,
            tags={**content, Tag.NAME: name},
            model_type=load_task(config.task).interface.kind,
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_model(folder, model, run_id, weights, config, evaluation)
        write_model_card(folder / "model", name=name, run_id=run_id, evaluation=evaluation, tags=content)
        files = hash_folder(folder / "model")
        client.log_model_artifacts(model.model_id, str(folder / "model"))
    client.set_logged_model_tags(model.model_id, {Tag.FILES: json.dumps(files)})
    _log_metrics(client, model, run_id, evaluation or {})
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
        step = int((evaluation or {}).get("step", 0))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=step)])
    return client.finalize_logged_model(model.model_id, "READY")


def _write_model(
    folder: Path,
    model: LoggedModel,
    run_id: str,
    weights: Path,
    config: RunConfig,
    evaluation: Mapping[str, Any] | None,
) -> None:
    (folder / "config.yaml").write_text(redact(config.to_yaml()), encoding="utf-8")
    (folder / "evaluation.json").write_text(json.dumps(evaluation, indent=2), encoding="utf-8")
    write_code(folder / "langpose_dist.zip")
    with warnings.catch_warnings():
        # MLflow warns of its own type hints when its module is imported.
        warnings.filterwarnings("ignore", ".*type hint", UserWarning)
        pyfunc.save_model(
            folder / "model",
            python_model=_MODEL_CODE,
            artifacts={
                "weights": str(weights),
                "code": str(folder / "langpose_dist.zip"),
                "config": str(folder / "config.yaml"),
                "evaluation": str(folder / "evaluation.json"),
            },
            signature=_signature(config),
            input_example=_input_example(config),
            pip_requirements=_requirements(weights),
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                model_uuid=model.model_id,
                run_id=run_id,
                model_id=model.model_id,
            ),
        )


def _log_metrics(
    client: MlflowClient, model: LoggedModel, run_id: str, evaluation: Mapping[str, Any]
) -> None:
    """Show the numbers on the model's own page, with the data that they were measured on.

    MLflow adds a model's metrics to its run too. With the time that a value has there it is the same one; a
    number that contradicts the run's own stays in the version's evaluation alone.
    """
    split, step = str(evaluation.get("split", "unknown")), int(evaluation.get("step", 0))
    found = {
        f"{split}/{condition}/{name}": float(value)
        for condition, values in evaluation.get("conditions", {}).items()
        for name, value in values.items()
        if math.isfinite(value)  # MLflow keeps a model's NaN as 0
    }
    known = find_values(client, run_id, found, step)
    metrics = [
        Metric(
            name,
            value,
            known[name].timestamp if name in known else model.creation_timestamp,
            step,
            model_id=model.model_id,
            dataset_name=dataset_name(str(evaluation.get("dataset", "unknown")), split),
            dataset_digest=str(evaluation.get("data_fingerprint", "unknown"))[:MAX_DIGEST_LENGTH],
        )
        for name, value in found.items()
        if name not in known or known[name].value == value
    ]
    log_metrics(client, run_id, metrics)


def _create_version(
    client: MlflowClient,
    name: str,
    run_id: str,
    model: LoggedModel,
    config: RunConfig,
    content: Mapping[str, str],
) -> int:
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
        tags={**content, Tag.FILES: model.tags[Tag.FILES]},
        description=load_task(config.task).interface.description,
        model_id=model.model_id,
    )
    return int(version.version)


def _move_alias(client: MlflowClient, name: str, alias: str, version: int) -> None:
    # A registration that is finished long after it began must not undo a later one.
    before = int(client.get_registered_model(name).aliases.get(alias, 0))
    if before < version:
        client.set_registered_model_alias(name, alias, str(version))


def _input_example(config: RunConfig) -> np.ndarray:
    """Zeros of the smallest input."""
    shape = [1 if size < 0 else size for size in load_task(config.task).interface.inputs]
    return np.zeros(shape, np.float32)


def _signature(config: RunConfig) -> ModelSignature:
    interface = load_task(config.task).interface
    output_type = np.dtype(str if interface.gives_text else np.float32)
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), interface.inputs)]),
        outputs=Schema([TensorSpec(output_type, interface.outputs)]),
    )


def _requirements(weights: Path) -> list[str]:
    # Said outright, or MLflow runs the model for minutes to find out. A local label such as +cpu is no
    # version that an index has.
    has_words = not {"text_architecture", "tokenizer"}.isdisjoint(read_header(weights))
    packages = (*_RUNTIME_PACKAGES, "transformers") if has_words else _RUNTIME_PACKAGES
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in packages]
