"""Use of a trained model from Python."""

from langpose_dist.export.model import LangPose
from langpose_dist.tracking.registry.weights import find_model


def load(reference: str, *, tracking_uri: str | None = None) -> LangPose:
    """Open a trained model.

    Args:
        reference: Folder of a finished run, folder that a model was fetched or exported to, safetensors
            file, or ``models:/NAME@ALIAS`` and the registry's other references.
        tracking_uri: Of the registry; default: ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` in this folder.

    Raises:
        UserError: If there is no such model, or it lifts no poses.
    """
    weights, version = find_model(reference, tracking_uri)
    return LangPose.open(weights, licence=version.licence if version else None)
