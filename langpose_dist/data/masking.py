"""Masking: joints of a window hidden from the model, by one kind of masking per window."""

import numpy as np
from jaxtyping import Bool

from langpose_dist.config import MaskingConfig
from langpose_dist.skeleton import Skeleton


def draw_joint_mask(
    rng: np.random.Generator, num_frames: int, num_valid: int, skeleton: Skeleton, config: MaskingConfig
) -> Bool[np.ndarray, "T J"]:
    """Draw the kind of masking, then the joints and frames.

    Args:
        rng: The window's own generator.
        num_frames: Frames in the window (T).
        num_valid: Frames of it that belong to the clip; a hidden stretch of time falls on these and
            takes at most half of them, so that a short clip is never hidden whole.
        skeleton: Its joints and body parts are hidden.
        config: Proportions and sizes.

    Returns:
        True where a joint is hidden.

    Source:
        LangPose supplement, section 2.2.
    """
    mask = np.zeros((num_frames, skeleton.num_joints), dtype=bool)
    kind = rng.random()
    if kind < config.random_probability:
        mask |= rng.random(mask.shape) < config.joint_ratio
        mask |= rng.random((num_frames, 1)) < config.frame_ratio
    elif kind < config.random_probability + config.time_window_probability:
        low, high = config.time_window_frames
        length = min(int(rng.integers(low, high + 1)), num_valid // 2)
        start = int(rng.integers(0, num_valid - length + 1))
        mask[start : start + length] = True
    else:
        part = list(skeleton.body_parts.values())[int(rng.integers(len(skeleton.body_parts)))]
        mask[:, [skeleton.index(joint) for joint in part]] = True
    return mask
