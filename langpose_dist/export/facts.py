"""Facts that an exported model carries, so that nobody has to guess what goes in and what comes out."""

from collections.abc import Mapping

from langpose_dist.inference.model import MOTIONBERT_FPS, LiftingModel
from langpose_dist.inference.person import LIMB_LENGTHS
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
_BOX = (
    "of a window of pixels (u, v), as langpose infer does by default: x = (u - cu) / s, y = (v - cv) / s, "
    "cut to -5..5; (cu, cv) is the mean of the seen pelvis; s = m / units_per_metre, m the median over frames"
    " of (sum of the lengths in pixels of the limbs whose two ends are seen) / (0.85 * sum of their "
    "limb_lengths_m)"
)
"""Definition of ``inference.picture.normalise_box``, for programs of others."""


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
        "normalisation_box": _BOX,
        "units_per_metre": f"{as_lifting_model(exported, {}).units_per_metre:.6g}",
        "limb_lengths_m": " ".join(
            f"{H36M17.joints[upper]}-{H36M17.joints[lower]}={length:g}"
            for (upper, lower), length in zip(H36M17.bones, LIMB_LENGTHS, strict=True)
        ),
        "max_frames": str(exported.config.window.num_frames),
        **{fact: header[entry] for entry, fact in _FROM_HEADER.items() if entry in header},
        LICENCE: licence or exported.config.data.licence or NO_LICENCE,
        "weights_sha256": weights_sha256,
    }


def as_lifting_model(exported: Exported, facts: Mapping[str, str]) -> LiftingModel:
    """A model as inference takes it.

    Args:
        exported: As above.
        facts: Of its origin, for the results.
    """
    config, fps = exported.config, exported.header.get("fps")
    return LiftingModel(
        name=facts.get("weights_sha256", ""),
        model=exported.model,
        space=config.target.space,
        num_frames=config.window.num_frames,
        fps=MOTIONBERT_FPS if fps is None else float(fps),
        config=config,
        facts=facts,
    )
