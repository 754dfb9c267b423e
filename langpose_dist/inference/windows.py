"""Windows of a long clip: cut on one grid, lifted a few at a time, and blended."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Float64, Int

from langpose_dist.host.bars import tracked

_AT_ONCE = 16
"""Windows in memory together."""


def default_stride(num_frames: int) -> int:
    """A third of a window: at half of one, a clip that is cut elsewhere differs by twice as much."""
    return -(-num_frames // 3)


def triangle(num_frames: int) -> Float64[np.ndarray, "W"]:
    """Weights of a window's frames: they rise to its middle, and fall again."""
    return np.minimum(np.arange(1.0, num_frames + 1), np.arange(num_frames, 0.0, -1))


def starts_of(start: int, stop: int, num_frames: int, stride: int) -> Int[np.ndarray, "N"]:
    """First frames of the windows that cover a clip.

    They begin at multiples of the stride, counted from the video's first frame, so that a clip that is cut
    elsewhere has the same ones in its middle; two more begin and end with the clip. A clip that is shorter
    than a window is one.

    Args:
        start: First frame of the clip.
        stop: One past its last.
        num_frames: Frames per window.
        stride: Frames from one window to the next.
    """
    last = stop - num_frames
    if last <= start:
        return np.array([start])
    inner = np.arange(-(-start // stride) * stride, last + 1, stride)
    return np.unique(np.concatenate(([start], inner, [last])))


def blend(
    transform: Callable[[Float[np.ndarray, "N W 17 3"]], Float[np.ndarray, "N W *C"]],
    keypoints: Float[np.ndarray, "S 17 3"],
    start: int,
    num_frames: int,
    stride: int,
) -> Float[np.ndarray, "S *C"]:
    """Mean of what a model says of overlapping windows; the middle of a window weighs most.

    Args:
        transform: The model, from windows to values of each of their frames.
        keypoints: The clip.
        start: Number of its first frame.
        num_frames: Frames per window (W); a shorter clip repeats its last frame.
        stride: Frames from one window to the next.
    """
    length = len(keypoints)
    short = max(num_frames - length, 0)
    keypoints = np.pad(keypoints, ((0, short), (0, 0), (0, 0)), mode="edge")
    ramp = triangle(num_frames)
    total, weights = None, np.zeros(len(keypoints))
    begins_all = starts_of(start, start + length, num_frames, stride) - start
    batches = [begins_all[first : first + _AT_ONCE] for first in range(0, len(begins_all), _AT_ONCE)]
    for begins in tracked(batches, "windows", "part"):
        values = transform(np.stack([keypoints[begin : begin + num_frames] for begin in begins]))
        if total is None:
            total = np.zeros((len(keypoints), *values.shape[2:]))
        weight = ramp.reshape(-1, *[1] * (values.ndim - 2))
        for begin, window in zip(begins, values, strict=True):
            total[begin : begin + num_frames] += weight * window
            weights[begin : begin + num_frames] += ramp
    assert total is not None
    return (total / weights.reshape(-1, *[1] * (total.ndim - 1)))[:length].astype(np.float32)
