"""Six numbers per frame that say how a body is spread out and how it moves."""

import numpy as np
from jaxtyping import Float, Float64

FEATURES = (
    "radius mean",
    "radius std",
    "speed mean",
    "speed std",
    "acceleration mean",
    "acceleration std",
)

STD_FLOOR = 0.01
"""Least standard deviation of a coordinate in metres: joints that are still would blow up their noise."""

MIN_FRAMES = 4
"""Shortest clip: two frames with one before and one after, as an acceleration needs them."""


def frame_features(poses: Float[np.ndarray, "T J 3"], fps: float) -> Float64[np.ndarray, "S 6"]:
    """Mean and standard deviation across joints of distance from the pelvis, speed and acceleration.

    Each coordinate is z-scored over the clip, relative to the pelvis (joint 0), which counts as a joint that
    never moves. Derivatives are central differences per second, so a rate is no motion.

    Args:
        poses: One clip, metres, T >= ``MIN_FRAMES``.
        fps: Its rate.

    Returns:
        S = T - 2 frames: the first and the last have no derivative.

    Source:
        LangPose's supplement, 5.2, which leaves open over what to z-score and the unit of time.
    """
    relative = poses.astype(np.float64) - poses[:, :1]
    joints = (relative - relative.mean(axis=0)) / np.maximum(relative.std(axis=0), STD_FLOOR)
    speed = (joints[2:] - joints[:-2]) * (fps / 2)
    acceleration = (joints[2:] - 2 * joints[1:-1] + joints[:-2]) * fps**2
    lengths = [np.linalg.norm(part, axis=-1) for part in (joints[1:-1], speed, acceleration)]
    return np.stack([form(axis=1) for length in lengths for form in (length.mean, length.std)], axis=1)
