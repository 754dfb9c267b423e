"""Windows of a long clip: cut on one grid, lifted a few at a time, and blended."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

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


class Clip(NamedTuple):
    """Frames of a model."""

    keypoints: Float[np.ndarray, "S 17 3"]
    start: int
    """Number of the first."""


def blend(
    transform: Callable[[Float[np.ndarray, "N W 17 3"]], Float[np.ndarray, "N W *C"]],
    clips: Sequence[Clip],
    num_frames: int,
    stride: int,
) -> list[Float[np.ndarray, "S *C"]]:
    """Mean of what a model says of overlapping windows; the middle of a window weighs most.

    Args:
        transform: The model, from windows to values of each of their frames.
        clips: Their windows go through the model together.
        num_frames: Frames per window (W); a shorter clip repeats its last frame.
        stride: Frames from one window to the next.

    Returns:
        Values of each clip.
    """
    padded = [
        np.pad(keypoints, ((0, max(num_frames - len(keypoints), 0)), (0, 0), (0, 0)), mode="edge")
        for keypoints, _ in clips
    ]
    windows = [
        (number, begin - start)
        for number, (keypoints, start) in enumerate(clips)
        for begin in starts_of(start, start + len(keypoints), num_frames, stride).tolist()
    ]
    ramp = triangle(num_frames)
    totals: dict[int, np.ndarray] = {}
    weights = [np.zeros(len(keypoints)) for keypoints in padded]
    batches = [windows[first : first + _AT_ONCE] for first in range(0, len(windows), _AT_ONCE)]
    for batch in tracked(batches, "windows", "part"):
        values = transform(np.stack([padded[number][begin : begin + num_frames] for number, begin in batch]))
        weight = ramp.reshape(-1, *[1] * (values.ndim - 2))
        for (number, begin), window in zip(batch, values, strict=True):
            if number not in totals:
                totals[number] = np.zeros((len(padded[number]), *values.shape[2:]))
            totals[number][begin : begin + num_frames] += weight * window
            weights[number][begin : begin + num_frames] += ramp
    return [
        (totals[number] / weights[number].reshape(-1, *[1] * (totals[number].ndim - 1)))[
            : len(keypoints)
        ].astype(np.float32)
        for number, (keypoints, _) in enumerate(clips)
    ]
