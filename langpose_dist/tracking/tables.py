"""Tables of an evaluation by a protocol as a run of their own in MLflow."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langpose_dist.config import TrackingConfig
from langpose_dist.tracking.client import connect, explained, resolve_uri


def record_table(
    report: Mapping[str, Any],
    files: Mapping[str, str],
    tracking: TrackingConfig,
    pictures: Sequence[Path] = (),
) -> str:
    """Record a report's means as metrics, its protocol as parameters and tags, its tables as files.

    Args:
        report: Of an evaluation by a protocol.
        files: Name -> content.
        tracking: Address and experiment.
        pictures: Further files.

    Returns:
        The run's id.

    Raises:
        UserError: If MLflow does not answer.
    """
    client = connect(resolve_uri(tracking.uri), create=True)
    protocol, data = report["protocol"], report["data"]
    with explained("the table cannot be recorded"):
        experiment = client.get_experiment_by_name(tracking.experiment)
        experiment_id = (
            experiment.experiment_id if experiment else client.create_experiment(tracking.experiment)
        )
        tags = {
            "langpose.protocol": protocol["name"],
            "langpose.space": protocol["space"],
            "langpose.data_fingerprint": data["fingerprint"],
            "langpose.source_2d": data["source_2d"],
            "mlflow.runName": f"evaluate-{protocol['name']}",
        }
        run_id = client.create_run(experiment_id, tags=tags).info.run_id
        client.log_param(run_id, "split", data["split"])
        for name in ("clip_rule", "merging", "flip_averaging", "scale_source"):
            client.log_param(run_id, name, protocol[name])
        for number, model in enumerate(report["models"]):
            client.set_tag(run_id, f"langpose.model.{number}", model["name"])
            for metric, value in model[f"{protocol['group']}_mean"].items():
                if math.isfinite(value):
                    client.log_metric(run_id, f"{protocol['name']}/{number}/{metric}", value)
        for name, content in files.items():
            client.log_text(run_id, content, name)
        for picture in pictures:
            client.log_artifact(run_id, str(picture))
        client.set_terminated(run_id)
    return run_id
