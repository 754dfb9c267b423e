"""Per-window randomness that depends on nothing but (seed, epoch, window number).

Every kind of draw has a counter of its own, so switching one off leaves the others unchanged, and nothing
depends on ranks, workers or the rest of the batch.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int

from langpose_dist.config import CameraConfig


class Draw(IntEnum):
    """Kinds of random draws; their numbers are part of the reproducible stream and never change."""

    ORDER = 0
    FLIP = 1
    SPAN = 2
    NEGATIVES = 3
    CAMERA = 4
    NOISE = 5
    MASK = 6
    CAPTION = 7


EVALUATION_EPOCH = 2**64 - 1
"""Epoch of evaluation's draws; no training ever reaches it."""


def generator(seed: int, epoch: int, index: int, draw: Draw) -> np.random.Generator:
    """Create the counter-based generator of one draw of one window in one epoch.

    Source:
        Philox, Salmon et al., SC 2011.
    """
    # Drawing advances the lowest counter word, so the two highest separate windows and draws.
    return np.random.Generator(
        np.random.Philox(
            key=np.array([seed, epoch], dtype=np.uint64),
            counter=np.array([0, 0, index, draw], dtype=np.uint64),
        )
    )


def draw_camera(rng: np.random.Generator, config: CameraConfig) -> Float[np.ndarray, "4"]:
    """Draw yaw and elevation in radians, distance in metres, focal length in half image widths."""
    low, high = np.array([config.yaw, config.elevation, config.distance, config.focal_length]).T
    camera = rng.uniform(low, high)
    camera[:2] = np.radians(camera[:2])
    return camera.astype(np.float32)


def draw_negatives(
    rng: np.random.Generator, true: Sequence[int], weights: Float[np.ndarray, "V"], num_negatives: int
) -> Int[np.ndarray, "N"]:
    """Draw other labels without replacement, each with probability proportional to its weight.

    Args:
        rng: The window's own generator.
        true: Ids of the labels that are true of the window, which are never drawn.
        weights: Per label; labels of weight 0 are never drawn.
        num_negatives: Labels to draw; where fewer are left, -1 stands for the missing ones.
    """
    # The largest of log-weight plus Gumbel noise: weighted sampling without replacement in one pass.
    with np.errstate(divide="ignore"):
        scores = np.log(weights) + rng.gumbel(size=weights.shape)
    scores[list(true)] = -np.inf
    drawn = np.argsort(-scores, kind="stable")[:num_negatives]
    return np.where(np.isfinite(scores[drawn]), drawn, -1)
