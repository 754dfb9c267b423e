"""The time axis of one person: where it was away, the gaps are filled or cut."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int

from langpose_dist.detections.track import Track


def to_tracks(
    person: str, frames: Int[np.ndarray, "N"], keypoints: Float32[np.ndarray, "N 17 3"], max_gap: int
) -> Iterator[Track]:
    """Tracks of one person, cut where it was away for more than ``max_gap`` frames."""
    cuts = np.flatnonzero(np.diff(frames) - 1 > max_gap) + 1
    parts = zip(np.split(frames, cuts), np.split(keypoints, cuts), strict=True) if len(frames) else ()
    for numbers, part in parts:
        whole = np.zeros((numbers[-1] - numbers[0] + 1, *part.shape[1:]), np.float32)
        whole[numbers - numbers[0]] = part
        seen = whole[..., 2] > 0
        whole[~seen] = 0
        fill_gaps(whole, seen, max_gap)
        yield Track(person, int(numbers[0]), whole, seen)


def fill_gaps(keypoints: Float32[np.ndarray, "T J 3"], seen: Bool[np.ndarray, "T J"], max_gap: int) -> None:
    """Interpolate x and y in place wherever a joint was missing for at most ``max_gap`` frames."""
    times = np.arange(len(seen))
    for joint in range(seen.shape[1]):
        known = np.flatnonzero(seen[:, joint])
        missing = np.flatnonzero(~seen[:, joint])
        after = np.searchsorted(known, missing)
        is_inside = (after > 0) & (after < len(known))
        missing, after = missing[is_inside], after[is_inside]
        short = missing[known[after] - known[after - 1] - 1 <= max_gap]
        for axis in range(2):
            values = keypoints[known, joint, axis]
            keypoints[short, joint, axis] = np.interp(times[short], known, values) if len(short) else 0
