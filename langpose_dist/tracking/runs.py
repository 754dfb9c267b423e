"""Runs in MLflow: configuration, environment, metrics by step and artifacts, from rank 0 only."""

import json
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from langpose_dist import __version__
from langpose_dist.config import RunConfig, TrackingConfig, UserError
from langpose_dist.environment import redact, redact_values
from langpose_dist.tracking.client import connect, database_path, explained, one_line, resolve_uri
from langpose_dist.tracking.registry import check_name, register_model

_logger = logging.getLogger(__name__)

# MLflow's limits for one log_batch and one value.
_MAX_PARAMS_PER_BATCH = 100
_MAX_METRICS_PER_BATCH = 1000
_MAX_PARAM_LENGTH = 6000

_FLUSH_SECONDS = 10.0
_RETRY_SECONDS = 60.0
_MAX_PENDING = 100_000


@final
class MLflowTracker:
    """Records one run in MLflow.

    After ``start`` nothing raises: training goes on when the tracking store does not answer. Metrics then
    wait in memory, the first failure is logged, and the store is asked again once a minute.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self._config = config
        self._started: tuple[MlflowClient, str, RunConfig] | None = None
        self._tags: dict[str, str] = {}
        self._pending: list[Metric] = []
        self._latest: dict[str, float] = {}
        self._next_flush = 0.0
        self._has_warned = False

    def check(self) -> None:
        """See that the store answers and the model's name can be one.

        Raises:
            UserError: If not.
        """
        if self._config.register_as is not None:
            check_name(self._config.register_as, self._config.alias)
        connect(resolve_uri(self._config.uri), create=True)

    def start(
        self,
        *,
        config: RunConfig,
        run_dir: Path,
        data_fingerprint: str,
        environment: Mapping[str, str],
        run_id: str | None = None,
    ) -> dict[str, str]:
        """Create a run, or continue one, and record what defines it.

        Args:
            config: The resolved configuration.
            run_dir: The run's folder; its name is the run's name where none is configured.
            data_fingerprint: Of the training data.
            environment: From ``describe_environment``.
            run_id: Run to continue. If the store does not know it any more, a new one is created.

        Returns:
            What finds the run again: ``run_id``, and ``tracking_uri`` without credentials.

        Raises:
            UserError: If the store cannot be used, or the model's name or alias is none.
        """
        self.check()
        uri = resolve_uri(self._config.uri)
        client = connect(uri, create=True)
        environment = redact_values(environment)
        self._tags = {
            "config_hash": config.hash(),
            "data_fingerprint": data_fingerprint,
            "git_commit": environment.get("git_commit", "unknown"),
            "git_dirty": environment.get("git_dirty", "unknown"),
            "langpose_version": __version__,
        }
        with explained(f"the run cannot be recorded at {redact(uri)}"):
            run = _find_run(client, run_id) if run_id is not None else None
            if run is None:
                name = self._config.run_name or run_dir.resolve().name
                run = client.create_run(_experiment_id(client, self._config.experiment, uri), run_name=name)
            else:
                client.update_run(run.info.run_id, status="RUNNING")
                self._latest = dict(run.data.metrics)
            run_id = run.info.run_id
            _log_params(client, run, config)
            # MLflow's pages show the commit under this name.
            _log_tags(client, run_id, self._tags | {"mlflow.source.git.commit": self._tags["git_commit"]})
            client.log_text(run_id, redact(config.to_yaml()), "config.yaml")
            client.log_text(run_id, json.dumps(environment, indent=2), "environment.json")
        self._started = client, run_id, config
        return {"run_id": run_id, "tracking_uri": redact(uri)}

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record values of one step; they are sent together every few seconds."""
        now = time.time_ns() // 1_000_000
        named = {metric_name(name): float(value) for name, value in metrics.items()}
        self._pending += [Metric(name, value, now, step) for name, value in named.items()]
        self._latest |= named
        if time.monotonic() >= self._next_flush:
            self._flush()

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Store a file, or what a folder holds, under ``folder`` of the run's artifacts."""
        client, run_id, _ = self._active()
        log = client.log_artifacts if path.is_dir() else client.log_artifact
        try:
            log(run_id, str(path), folder or None)
        except Exception as error:
            self._warn(error)

    def register(self, weights: Path) -> str | None:
        """Register exported weights under the configured name and alias.

        Returns:
            ``"NAME/VERSION"``; ``None`` if no name is configured or registration failed, which is logged.
        """
        if self._config.register_as is None:
            return None
        client, run_id, config = self._active()
        self._flush()
        try:
            return register_model(
                client,
                run_id=run_id,
                weights=weights,
                config=config,
                name=self._config.register_as,
                alias=self._config.alias,
                metrics=self._latest,
                tags=self._tags,
            )
        except Exception as error:
            _logger.error("the model was not registered: %s; its weights are in %s", one_line(error), weights)
            return None

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Send what is waiting and close the run."""
        client, run_id, _ = self._active()
        self._flush()
        try:
            client.set_terminated(run_id, status)
        except Exception as error:
            self._warn(error)
        if self._pending:
            _logger.warning("%d metric values never reached MLflow", len(self._pending))

    def _active(self) -> tuple[MlflowClient, str, RunConfig]:
        assert self._started is not None, "start() comes first"
        return self._started

    def _flush(self) -> None:
        client, run_id, _ = self._active()
        try:
            while self._pending:
                client.log_batch(run_id, metrics=self._pending[:_MAX_METRICS_PER_BATCH])
                del self._pending[:_MAX_METRICS_PER_BATCH]
        except Exception as error:
            self._warn(error)
            del self._pending[:-_MAX_PENDING]
            self._next_flush = time.monotonic() + _RETRY_SECONDS
        else:
            self._next_flush = time.monotonic() + _FLUSH_SECONDS

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            _logger.warning("MLflow does not answer, training goes on without it: %s", one_line(error))


def add_metrics(uri: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Add values to a run that may have ended long ago.

    Raises:
        UserError: If the store does not answer or does not know the run.
    """
    client = connect(resolve_uri(uri), create=False)
    now = time.time_ns() // 1_000_000
    with explained(f"the metrics cannot be added to run {run_id} at {redact(uri)}"):
        client.log_batch(
            run_id, [Metric(metric_name(name), value, now, step) for name, value in metrics.items()]
        )


def metric_name(name: str) -> str:
    """The name as MLflow accepts it: ``retrieval/R@1`` becomes ``retrieval/R_1``."""
    return re.sub(r"[^\w\-. /]", "_", name)


def param_value(value: Any) -> str:
    """A configuration value as MLflow keeps it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _find_run(client: MlflowClient, run_id: str) -> Run | None:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        if run.info.lifecycle_stage == "active":
            return run
    _logger.warning("MLflow does not know run %s any more; a new one is created", run_id)
    return None


def _experiment_id(client: MlflowClient, name: str, uri: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(name, uri))
        except MlflowException as error:
            # Another trial of the same sweep may have been faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    if experiment.lifecycle_stage != "active":
        raise UserError(f"tracking.experiment={name!r} was deleted; restore it or choose another name")
    return experiment.experiment_id


def _artifact_location(experiment: str, uri: str) -> str | None:
    """Beside an SQLite file, wherever the run is started; a server decides for itself."""
    path = database_path(uri)
    if path is None:
        return None
    return (path.parent / "mlartifacts" / re.sub(r"[^\w.-]+", "-", experiment)).as_uri()


def _log_params(client: MlflowClient, run: Run, config: RunConfig) -> None:
    # Without credentials already: to_flat leaves them out.
    params = {key: param_value(value)[:_MAX_PARAM_LENGTH] for key, value in config.to_flat().items()}
    known = run.data.params
    new = [Param(key, value) for key, value in params.items() if key not in known]
    for first in range(0, len(new), _MAX_PARAMS_PER_BATCH):
        client.log_batch(run.info.run_id, params=new[first : first + _MAX_PARAMS_PER_BATCH])
    # MLflow never changes a parameter; what a continued run does differently is said in a tag.
    changed = {key: value for key, value in params.items() if known.get(key, value) != value}
    if changed:
        _log_tags(client, run.info.run_id, {"changed_on_resume": json.dumps(changed)})


def _log_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
