"""Runs in MLflow: find or create one, its parameters, tags, data and metrics."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

import numpy as np
from mlflow import MlflowClient
from mlflow.data.schema import TensorDatasetSchema
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.types import Schema, TensorSpec
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from langpose_dist.config import UserError
from langpose_dist.skeleton import H36M17
from langpose_dist.tracking.client import database_path, is_unavailable

RUN_UID = "langpose.run_uid"
"""Tag: the name that a run gives itself before any store knows it."""

PARENT_RUN = "langpose.parent_run"
"""Tag: the run that a run belongs under, as its configuration names it (an id or a uid)."""

# MLflow's limits for one log_batch and one value.
MAX_METRICS_PER_BATCH = 1000
MAX_DIGEST_LENGTH = 36
_MAX_TAGS_PER_BATCH = 100
_MAX_PARAMS_PER_BATCH = 100
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000
_IS_DOUBLE = re.compile(r"UniqueViolation|duplicate key|UNIQUE constraint", re.IGNORECASE)


def metric_name(name: str) -> str:
    """Name of a metric as MLflow accepts it: ``retrieval/R@1`` becomes ``retrieval/R_1``."""
    return re.sub(r"[^\w\-. /]", "_", name)


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """An active run of this id; ``None`` if there is none."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def find_run_by_uid(client: MlflowClient, uid: str) -> Run | None:
    """The oldest active run of this ``RUN_UID``, in any experiment.

    A server may have made a run although its answer was lost: a second one that holds nothing is deleted.
    """
    found = _search_uid(client, uid)
    for double in found[1:]:
        is_empty = not double.data.metrics and not double.data.params
        if is_empty and double.info.experiment_id == found[0].info.experiment_id:
            client.delete_run(double.info.run_id)
    return found[0] if found else None


def find_named_run(client: MlflowClient, name: str) -> Run | None:
    """An active run of this id or, failing that, ``RUN_UID``; ``None`` also where it may not be seen."""
    if not re.fullmatch(r"[\w-]+", name, re.ASCII):
        return None  # nothing that a request should hold
    try:
        run = find_run(client, name)
        return run if run is not None else next(iter(_search_uid(client, name)), None)
    except MlflowException as error:
        if is_unavailable(error):
            raise
        return None


def all_experiment_ids(client: MlflowClient) -> list[str]:
    """Every active experiment, however many pages the store makes of them."""
    found: list[str] = []
    token: str | None = None
    while token is None or token:
        page = client.search_experiments(page_token=token)
        found += [experiment.experiment_id for experiment in page]
        token = page.token or ""
    return found


def create_run(
    client: MlflowClient, *, experiment: str, name: str, tags: Mapping[str, str], time: int
) -> Run:
    """A new run.

    Args:
        client: From ``connect``.
        experiment: Name; created where it is new.
        name: Of the run.
        tags: Its first ones.
        time: When it started, milliseconds since 1970.

    Raises:
        UserError: If the experiment was deleted.
    """
    return client.create_run(
        _experiment_id(client, experiment),
        start_time=time,
        tags={key: value[:_MAX_TAG_LENGTH] for key, value in tags.items()},
        run_name=name,
    )


def check_experiment(client: MlflowClient, name: str) -> None:
    """Make sure that runs can be added to an experiment, new or not.

    Raises:
        UserError: If it was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage != "active":
        raise UserError(f"tracking.experiment={name!r} was deleted; restore it or choose another name")


def log_params(client: MlflowClient, run: Run, params: Mapping[str, str], changed: Mapping[str, str]) -> None:
    """Add parameters. MLflow never changes one: what a resumed run does differently goes into a tag.

    Args:
        client: From ``connect``.
        run: As the store has it.
        params: Time of the first attempt.
        changed: Of the last attempt, where they differ.
    """
    known = run.data.params
    params = {key: value[:_MAX_PARAM_LENGTH] for key, value in params.items()}
    new = [Param(key, value) for key, value in params.items() if key not in known]
    for first in range(0, len(new), _MAX_PARAMS_PER_BATCH):
        batch = new[first : first + _MAX_PARAMS_PER_BATCH]
        client.log_batch(run.info.run_id, params=batch, synchronous=True)
    differing = {key: value for key, value in params.items() if known.get(key, value) != value} | dict(
        changed
    )
    if differing:
        short = {key: value[:200] for key, value in differing.items()}
        log_tags(client, run, {"changed_on_resume": json.dumps(short)})


def log_tags(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    """Set the tags that the store does not have; what is too long for MLflow is cut."""
    short = {key: value[:_MAX_TAG_LENGTH] for key, value in tags.items()}
    new = [RunTag(key, value) for key, value in short.items() if run.data.tags.get(key) != value]
    # Synchronous: MLFLOW_ENABLE_ASYNC_LOGGING would have the rest of this module queue, and lose errors.
    for first in range(0, len(new), _MAX_TAGS_PER_BATCH):
        client.log_batch(run.info.run_id, tags=new[first : first + _MAX_TAGS_PER_BATCH], synchronous=True)


def dataset_name(dataset: str, split: str) -> str:
    """Name of one split of a data set in MLflow, which keeps no more of a data set than name and digest."""
    return f"{dataset} ({split})"


def log_datasets(
    client: MlflowClient,
    run_id: str,
    *,
    name: str,
    fingerprint: str,
    source: str,
    splits: Mapping[str, str],
    num_frames: int,
) -> None:
    """Name the data of a run in the column that MLflow's pages have for it.

    Args:
        client: From ``connect``.
        run_id: The run.
        name: Of the data set.
        fingerprint: Of its content.
        source: Path or URL.
        splits: Split -> context: ``training`` or ``validation``.
        num_frames: Frames per window.
    """
    scheme = urlsplit(source).scheme
    window = (-1, num_frames, H36M17.num_joints, 3)
    keypoints, poses = (
        Schema([TensorSpec(np.dtype(np.float32), window, field)]) for field in ("keypoints_2d", "poses_3d")
    )
    inputs = [
        DatasetInput(
            Dataset(
                name=dataset_name(name, split),
                digest=fingerprint[:MAX_DIGEST_LENGTH],
                source_type=scheme if len(scheme) > 1 else "local",
                source=json.dumps({"uri": source}),
                schema=json.dumps(TensorDatasetSchema(keypoints, poses).to_dict()),
            ),
            [InputTag(MLFLOW_DATASET_CONTEXT, context)],
        )
        for split, context in splits.items()
    ]
    try:
        client.log_inputs(run_id, datasets=inputs)
    except MlflowException as error:
        # Two runs that name the same new data set at the same time: the second finds the first one's row.
        if not _IS_DOUBLE.search(str(error)):
            raise
        client.log_inputs(run_id, datasets=inputs)


def log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Add values. One that the store has already, time stamp included, is not stored twice."""
    for first in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + MAX_METRICS_PER_BATCH], synchronous=True)


def latest_steps(run: Run) -> dict[str, int]:
    """Last step of every metric that a run has in the store."""
    return {metric.key: metric.step for metric in run.data.to_proto().metrics}


def find_values(client: MlflowClient, run_id: str, names: Collection[str], step: int) -> dict[str, Metric]:
    """Values that a run has in the store at a step; names without any are left out."""
    latest = latest_steps(client.get_run(run_id))
    return {
        metric.key: metric
        for name in names
        if latest.get(name, -1) >= step
        for metric in client.get_metric_history(run_id, name)
        if metric.step == step
    }


def _search_uid(client: MlflowClient, uid: str) -> list[Run]:
    """All active runs of a ``RUN_UID``, in any experiment, the oldest first."""
    return client.search_runs(
        all_experiment_ids(client), f"tags.`{RUN_UID}` = '{uid}'", order_by=["attributes.start_time ASC"]
    )


def _experiment_id(client: MlflowClient, name: str) -> str:
    check_experiment(client, name)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(
                name, artifact_location=_artifact_location(name, client.tracking_uri)
            )
        except MlflowException as error:
            # Another trial of the same sweep may have been faster.
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
            experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return experiment.experiment_id


def _artifact_location(experiment: str, uri: str) -> str | None:
    """Beside an SQLite file, wherever the run is started; a server decides for itself."""
    path = database_path(uri)
    if path is None:
        return None
    return (path.parent / "mlartifacts" / re.sub(r"[^\w.-]+", "-", experiment)).as_uri()
