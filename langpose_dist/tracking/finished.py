"""Registration of a finished run from what its folder holds, long after it ended."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.credentials import read_mlflow_creds

from langpose_dist.config import UserError, load_config
from langpose_dist.host.atomic import hash_file
from langpose_dist.host.redaction import redact
from langpose_dist.models.weights import initial_header, read_header
from langpose_dist.runs.folder import RunFolder
from langpose_dist.tracking.client import connect, database_path, explained, resolve_uri, settings
from langpose_dist.tracking.record import now_ms, read_state
from langpose_dist.tracking.registry.registration import register_model
from langpose_dist.tracking.runs import RUN_UID, all_experiment_ids, create_run, find_named_run

_FROM_FOLDER = "langpose.registered_from_folder"
_RUN_WEIGHTS = "langpose.weights_sha256"
_UNKNOWN = "unknown"
_CHECK_TIMEOUT_S = "10"
_CREDENTIALS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH", "PGPASSWORD")


def register_run_folder(
    client: MlflowClient, run_dir: Path, *, name: str, alias: str, licence: str | None = None
) -> str:
    """Register the weights of a finished run; calling it again makes no second version.

    A run that this store has no record of gets a small one, named after the folder and tagged as such.

    Args:
        client: From ``connect``.
        run_dir: The run's folder.
        name: Name in the registry; created where it is new.
        alias: Moves to the version.
        licence: Of the training data; default: what the run's configuration says.

    Returns:
        ``"NAME/VERSION"``.

    Raises:
        UserError: If the folder holds no finished run, or the store does not answer.
    """
    folder = RunFolder(run_dir)
    weights = folder.weights
    if not weights.is_file():
        raise UserError(f"{run_dir} holds no finished run: {weights} does not exist")
    config = load_config(folder.config)
    header = read_header(weights)
    parent = initial_header(config.model.initial_weights)
    evaluation = folder.read_evaluation()
    record = folder.read_record()
    environment = record.get("environment", {})
    tags = {
        "config_hash": header.get("config_hash", config.hash()),
        "data_fingerprint": header.get("data_fingerprint", _UNKNOWN),
        "git_commit": header.get("commit", _UNKNOWN),
        "git_dirty": str((evaluation or {}).get("commit_dirty", environment.get("git_dirty", _UNKNOWN))),
        "langpose_version": header.get("langpose_dist", _UNKNOWN),
    }
    uid = {RUN_UID: record["run_uid"]} if "run_uid" in record else {}
    with explained(f"{run_dir} cannot be registered"):
        run_id = _find_run_id(client, record, hash_file(weights))
        if run_id is None:
            run = create_run(
                client,
                experiment=config.tracking.experiment,
                name=run_dir.resolve().name,
                tags={**tags, _FROM_FOLDER: "true", _RUN_WEIGHTS: hash_file(weights), **uid},
                time=now_ms(),
            )
            run_id = run.info.run_id
            client.set_terminated(run_id)
        return register_model(
            client,
            run_id=run_id,
            weights=weights,
            config=config,
            name=name,
            alias=alias,
            evaluation=evaluation,
            tags=tags,
            licence=licence or config.data.licence,
            parents=[parent["run_uid"]] if "run_uid" in parent else [],
        )


def attach_text(run_dir: Path, name: str, text: str, given: str | None = None) -> str | None:
    """Store a text among the artifacts of a run, where the run was recorded.

    Args:
        run_dir: The run's folder.
        name: Of the artifact.
        text: Its content.
        given: Address of the store; default: as ``choose_uri`` finds it.

    Returns:
        The run's id; ``None`` if no store has a record of the run.

    Raises:
        UserError: If the store does not answer or refuses.
    """
    record = RunFolder(run_dir).read_record()
    uri = choose_uri(run_dir, given)
    if uri is None or not {"run_id", "run_uid"} & record.keys():
        return None
    with settings(MLFLOW_HTTP_REQUEST_TIMEOUT=_CHECK_TIMEOUT_S, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
        client = connect(resolve_uri(uri), create=False)
    with explained(f"{name} cannot be stored"):
        run = _find_recorded(client, record)
        if run is None:
            return None
        client.log_text(run.info.run_id, text, name)
    return run.info.run_id


def choose_uri(run_dir: Path, given: str | None) -> str | None:
    """Choose the address of the store that a run's folder belongs to.

    The first of: the address given, ``MLFLOW_TRACKING_URI``, the one that the folder names. A folder may come
    from someone else, so the user's credentials never go to an address that it alone names.

    Args:
        run_dir: The run's folder.
        given: By ``--tracking-uri``.

    Returns:
        ``None`` if nothing names a store.

    Raises:
        UserError: If the folder names one that cannot or must not be used here.
    """
    if given is not None:
        return given
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        return uri
    folder = RunFolder(run_dir)
    uri = read_state(folder).tracking_uri or folder.read_record().get("tracking_uri")
    if not isinstance(uri, str) or not uri:
        return None
    path = database_path(uri)
    if redact(uri) != uri or "REDACTED@" in uri:
        problem = "an address that was kept without its credentials"
    elif path is not None and not path.is_file():
        problem = "a file that is not here"
    elif path is None and _has_credentials():
        problem = "and only its folder says so: a password or token that is set here is not sent there"
    else:
        return uri
    raise UserError(f"{run_dir} was recorded at {redact(uri)}, {problem}; name the store with --tracking-uri")


def _has_credentials() -> bool:
    """True if MLflow or a database driver would send credentials to any address."""
    with explained("~/.mlflow/credentials cannot be read"):
        is_kept = bool(read_mlflow_creds().password)
    return is_kept or any(os.environ.get(name) for name in _CREDENTIALS)


def _find_run_id(client: MlflowClient, record: Mapping[str, Any], digest: str) -> str | None:
    """The run's record in this store, wherever it was first recorded."""
    if (run := _find_recorded(client, record)) is not None:
        return run.info.run_id
    wanted = f"tags.`{_RUN_WEIGHTS}` = '{digest}'"
    runs = client.search_runs(all_experiment_ids(client), wanted, max_results=1)
    return runs[0].info.run_id if runs else None


def _find_recorded(client: MlflowClient, record: Mapping[str, Any]) -> Run | None:
    """The run that a folder's record names."""
    names = [name for key in ("run_id", "run_uid") if isinstance(name := record.get(key), str)]
    return next((run for name in names if (run := find_named_run(client, name)) is not None), None)
