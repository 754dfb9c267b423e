"""Runs as MLflow keeps them: find or create one, its parameters, tags, texts and metrics."""

import json
import re
import time
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode

from langpose_dist.config import UserError
from langpose_dist.host.redaction import redact
from langpose_dist.tracking.client import connect, database_path, explained, is_away, resolve_uri

RUN_UID = "langpose.run_uid"
"""Tag with the name that a run gives itself before any store knows it."""

PARENT_RUN = "langpose.parent_run"
"""Tag with the run that a run belongs under, by the name that its configuration gives: an id or a uid."""

# MLflow's limits for one log_batch and one value.
MAX_METRICS_PER_BATCH = 1000
_MAX_PARAMS_PER_BATCH = 100
_MAX_PARAM_LENGTH = 6000
_MAX_TAG_LENGTH = 8000


def metric_name(name: str) -> str:
    """The name as MLflow accepts it: ``retrieval/R@1`` becomes ``retrieval/R_1``."""
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
        if is_away(error):
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


def log_params(client: MlflowClient, run: Run, params: Mapping[str, str]) -> None:
    """Add parameters. MLflow never changes one: what a continued run does differently is said in a tag."""
    params = {key: value[:_MAX_PARAM_LENGTH] for key, value in params.items()}
    known = run.data.params
    new = [Param(key, value) for key, value in params.items() if key not in known]
    for first in range(0, len(new), _MAX_PARAMS_PER_BATCH):
        batch = new[first : first + _MAX_PARAMS_PER_BATCH]
        client.log_batch(run.info.run_id, params=batch, synchronous=True)
    changed = {key: value[:200] for key, value in params.items() if known.get(key, value) != value}
    if changed:
        log_tags(client, run.info.run_id, {"changed_on_resume": json.dumps(changed)})


def log_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags; what is too long for MLflow is cut."""
    # Synchronous: MLFLOW_ENABLE_ASYNC_LOGGING would have the rest of this module queue, and lose errors.
    client.log_batch(
        run_id,
        tags=[RunTag(key, value[:_MAX_TAG_LENGTH]) for key, value in tags.items()],
        synchronous=True,
    )


def log_dataset(client: MlflowClient, run_id: str, *, name: str, fingerprint: str, source: str) -> None:
    """Name the training data in the column that MLflow's pages have for it."""
    digest = fingerprint[:36]  # MLflow's limit
    dataset = Dataset(name=name, digest=digest, source_type="local", source=json.dumps({"uri": source}))
    client.log_inputs(run_id, datasets=[DatasetInput(dataset)])


def log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Add values. One that the store has already, time stamp included, is not stored twice."""
    for first in range(0, len(metrics), MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=metrics[first : first + MAX_METRICS_PER_BATCH], synchronous=True)


def add_metrics(uri: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Add values to a run that may have ended long ago.

    Raises:
        UserError: If the store does not answer or does not know the run.
    """
    client = connect(resolve_uri(uri), create=False)
    now = time.time_ns() // 1_000_000
    with explained(f"the metrics cannot be added to run {run_id} at {redact(uri)}"):
        log_metrics(
            client, run_id, [Metric(metric_name(name), value, now, step) for name, value in metrics.items()]
        )


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
