"""Frames and seconds: rates, resampling by time, label spans."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from langpose_dist.data.sample import DataError

SAME_RATE = 1e-9
"""Relative difference below which two frame rates are one."""

RATE_RANGE = (1.0, 10_000.0)
"""In Hz; a number beyond is not a frame rate of motion capture."""


def check_rate(fps: float) -> float:
    """The rate, if it can be that of a file.

    Raises:
        DataError: If it cannot: a far lower one would make endless frames of a few.
    """
    low, high = RATE_RANGE
    if not low <= fps <= high:
        raise DataError(f"unusable frame rate: {fps:g} Hz is not within {low:g} to {high:g} Hz")
    return fps


@dataclass(frozen=True)
class FramePlaces:
    """Positions of the frames of another rate between the frames of a clip."""

    before: Int64[np.ndarray, "S"]
    """The clip's frame at or before each place."""
    after: Int64[np.ndarray, "S"]
    """The frame after it, or the same one where a place is on a frame."""
    share: Float64[np.ndarray, "S"]
    """Share of the way from ``before`` to ``after``, in [0, 1)."""

    def used(self) -> Int64[np.ndarray, "U"]:
        """Frames that interpolation looks at, in order; the others need not be computed."""
        return np.unique(np.concatenate((self.before, self.after)))

    def among(self, frames: Int64[np.ndarray, "U"]) -> "FramePlaces":
        """The same places, counted in a selection of the clip's frames that holds all of ``used()``."""
        return FramePlaces(
            np.searchsorted(frames, self.before), np.searchsorted(frames, self.after), self.share
        )

    def interpolate(self, values: Shaped[np.ndarray, "T *C"]) -> Float64[np.ndarray, "S *C"]:
        """Values at the places, linearly between the frames."""
        share = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return (1 - share) * values[self.before] + share * values[self.after]


def frame_places(num_frames: int, fps: float, target_fps: float, tolerance: float = SAME_RATE) -> FramePlaces:
    """Places at times 0, 1/target_fps, 2/target_fps, ... up to the clip's last frame.

    Args:
        num_frames: Frames of the clip.
        fps: Its rate.
        target_fps: Rate of the places.
        tolerance: Rates that differ relatively by no more are taken to be the same, and each frame is kept.
    """
    last = num_frames - 1
    if abs(target_fps / fps - 1) <= tolerance:
        frames = np.arange(num_frames)
        return FramePlaces(frames, frames, np.zeros(num_frames))
    # The margin keeps the last frame where rounding puts it a hair beyond the end, and puts a place that is
    # a hair beside a frame on it.
    margin = 1e-6
    count = int(np.floor(last / fps * target_fps + margin)) + 1
    places = np.minimum(np.arange(count) * (fps / target_fps), last)
    nearest = np.rint(places)
    places = np.where(np.abs(places - nearest) < margin, nearest, places)
    before = places.astype(np.int64)
    share = places - before
    return FramePlaces(before, np.where(share > 0, before + 1, before), share)


def resample(
    values: Shaped[np.ndarray, "T *C"], fps: float, target_fps: float, tolerance: float = SAME_RATE
) -> Float64[np.ndarray, "S *C"]:
    """Values at times 0, 1/target_fps, ... by linear interpolation; the arguments are those of
    ``frame_places``."""
    return frame_places(len(values), fps, target_fps, tolerance).interpolate(values)


def to_frames(start: float, end: float, fps: float, num_frames: int) -> tuple[int, int] | None:
    """First frame and one past the last of what lasts from ``start`` to ``end``, in seconds.

    Ends are rounded to the nearest frame and cut to the clip; what is shorter than a frame gets one.

    Returns:
        ``None`` where nothing of it lies in the clip, or the times are not finite or not in order.
    """
    if not (np.isfinite(start) and np.isfinite(end) and start <= end):
        return None
    if end < 0 or (end == 0 and start < 0):
        return None
    first = max(round(start * fps), 0)
    stop = min(max(round(end * fps), first + 1), num_frames)
    return (first, stop) if first < stop else None
