"""Facts that an exported model carries, so that nobody has to guess what goes in and what comes out."""

from langpose_dist.report.card import NO_LICENCE
from langpose_dist.skeleton import H36M17
from langpose_dist.tasks.exported import Exported

LICENCE = "training_data_licence"
_UNITS = {"camera": "metres", "image_25d": "half image widths"}
_FROM_HEADER = {
    "fps": "fps",
    "limb_total": "limb_total_m",
    "scale_source": "scale_source",
    "dataset": "training_data",
    "data_fingerprint": "training_data_fingerprint",
    "config_hash": "config_hash",
    "commit": "commit",
    "langpose_dist": "langpose_dist",
}
"""Entry of the weights' header -> name of the fact."""


def describe(exported: Exported, weights_sha256: str, licence: str | None) -> dict[str, str]:
    """Name -> fact.

    Args:
        exported: A model that lifts poses.
        weights_sha256: Hash of its file.
        licence: Of the training data; default: what the run's configuration states.
    """
    space, header = exported.config.target.space, exported.header
    return {
        "task": exported.config.task,
        "space": space,
        "unit": _UNITS[space],
        "axes": "x right, y down, z forward; pelvis near 0",
        "skeleton": H36M17.name,
        "joints": " ".join(H36M17.joints),
        "input": "keypoints_2d: float32, batch x frames x 17 x 3 (x, y, confidence in 0..1)",
        "normalisation": "x = 2 * u / width - 1, y = (2 * v - height) / width of pixel (u, v); "
        "x = y = confidence = 0 where a joint is missing",
        "max_frames": str(exported.config.window.num_frames),
        **{fact: header[entry] for entry, fact in _FROM_HEADER.items() if entry in header},
        LICENCE: licence or exported.config.data.licence or NO_LICENCE,
        "weights_sha256": weights_sha256,
    }
