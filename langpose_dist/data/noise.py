"""Synthetic error of a 2D keypoint detector, drawn as small parameters per window."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from langpose_dist.config import NoiseConfig
from langpose_dist.skeleton import Skeleton

# Detectors miss the ends of limbs by more than the trunk.
_SPREAD = {"wrist": 2.0, "ankle": 2.0, "elbow": 1.5, "knee": 1.5}


@lru_cache
def joint_spread(joints: tuple[str, ...]) -> Float[np.ndarray, "J 1"]:
    """Size of the slow error on each joint, relative to the trunk."""
    return np.array([[_SPREAD.get(joint.rpartition("_")[2], 1.0)] for joint in joints])


def draw_noise(
    rng: np.random.Generator, num_frames: int, skeleton: Skeleton, config: NoiseConfig
) -> tuple[Float[np.ndarray, "K J 2"], Float[np.ndarray, "T J 3"]]:
    """Draw a window's detector error.

    Args:
        rng: The window's own generator.
        num_frames: Frames in the window (T).
        skeleton: Names of the joints.
        config: Sizes and proportions.

    Returns:
        Slow error at K keyframes, a mixture of Gaussian and gross uniform error, metres at the person's
        depth; and per frame a small jitter in metres (x, y) and a change of confidence.

    Source:
        The mixture over keyframes follows MotionBERT (Zhu et al., ICCV 2023); the sizes are the
        project's own and set in the configuration.
    """
    shape = (config.num_keyframes, skeleton.num_joints, 2)
    gaussian = rng.standard_normal(shape) * config.gaussian_std * joint_spread(skeleton.joints)
    uniform = rng.uniform(-config.uniform_range, config.uniform_range, shape)
    gross = rng.random((*shape[:2], 1)) < config.uniform_probability
    keyframes = np.where(gross, uniform, gaussian).astype(np.float32)
    jitter = rng.standard_normal((num_frames, skeleton.num_joints, 3), dtype=np.float32)
    jitter *= np.array([config.jitter_std, config.jitter_std, config.confidence_std], dtype=np.float32)
    return keyframes, jitter
