"""The contract of 2D joints, which holds wherever they come in: stored in shards, or given to a model."""

from typing import Any

from langpose_dist.skeleton import H36M17

MAX_COORDINATE = 5.0
"""Largest distance from the image's centre, in half image widths.

The tallest pictures of phones, 9 by 22, reach 2.4; as much again leaves room for joints outside of them. In
pixels a person 50 pixels tall, about the smallest that can be lifted, reaches 25.
"""


def check_keypoints(keypoints: Any) -> None:
    """Check 2D joints: 17 of them, x and y in half image widths from the centre, confidence in 0..1.

    Args:
        keypoints: Array or tensor whose last two axes are joints and x, y, confidence.

    Raises:
        ValueError: If they break the contract; the message says how, and the remedy.
    """
    shape = tuple(keypoints.shape)
    if shape[-2:] != (H36M17.num_joints, 3):
        raise ValueError(f"keypoints_2d has shape {shape}, not ... x {H36M17.num_joints} x 3")
    if 0 in shape:
        raise ValueError(f"keypoints_2d has shape {shape}: 0 frames, at least 1 is needed")
    # One pass of each; not a number is never within the limits.
    places, confidences = keypoints[..., :2], keypoints[..., 2]
    lowest, highest = float(places.min()), float(places.max())
    if not (lowest > -float("inf") and highest < float("inf")):
        raise ValueError(
            "keypoints_2d holds values that are not finite; give missing joints as x=y=confidence=0"
        )
    if lowest < -MAX_COORDINATE or highest > MAX_COORDINATE:
        raise ValueError(
            f"keypoints_2d has x or y from {lowest:.4g} to {highest:.4g}, outside of {-MAX_COORDINATE:g}.."
            f"{MAX_COORDINATE:g}: these look like pixels; give half image widths from the image's centre, "
            "x = 2 * u / width - 1, y = (2 * v - height) / width"
        )
    lowest, highest = float(confidences.min()), float(confidences.max())
    if not (lowest >= 0 and highest <= 1):
        raise ValueError(
            f"keypoints_2d has confidences from {lowest:.4g} to {highest:.4g}, outside of 0..1; scale or "
            "clip them, and give missing joints as x=y=confidence=0"
        )
