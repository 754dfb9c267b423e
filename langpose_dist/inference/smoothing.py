"""Optional smoothing over time, with a report of what it changes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.signal import savgol_filter

_ORDER = 2


@dataclass(frozen=True)
class Smoothed:
    """Poses, the path of the pelvis if there is one, and what smoothing did to them."""

    poses_3d: Float[np.ndarray, "T 17 3"]
    root: Float[np.ndarray, "T 3"] | None
    effect: Mapping[str, Any]


def smooth(
    poses: Float[np.ndarray, "T 17 3"],
    root: Float[np.ndarray, "T 3"] | None,
    fps: float,
    seconds: float | None,
) -> Smoothed:
    """Fit a parabola to the frames around each one.

    Args:
        poses: Metres.
        root: Metres.
        fps: Frames per second.
        seconds: Length of the frames around; ``None`` leaves everything as it is.

    Source:
        Savitzky and Golay, Analytical Chemistry 1964.
    """
    before = mean_acceleration(poses, fps)
    if seconds is None:
        return Smoothed(poses, root, {"method": "none", "acceleration_m_s2": before})
    length = 2 * int(seconds * fps / 2) + 1
    length = min(length, len(poses) - (len(poses) + 1) % 2)
    if length <= _ORDER:
        effect = {"method": "none: the window is shorter than 3 frames", "acceleration_m_s2": before}
        return Smoothed(poses, root, effect)

    def fit(values: np.ndarray) -> np.ndarray:
        return np.asarray(savgol_filter(values, length, _ORDER, axis=0), np.float32)

    smoothed = fit(poses)
    moved = np.linalg.norm(smoothed - poses, axis=-1)
    effect = {
        "method": "Savitzky-Golay, order 2",
        "seconds": seconds,
        "frames": length,
        "acceleration_m_s2_before": before,
        "acceleration_m_s2": mean_acceleration(smoothed, fps),
        "mean_change_mm": round(1000 * float(moved.mean()), 2),
        "largest_change_mm": round(1000 * float(moved.max()), 2),
    }
    return Smoothed(smoothed, None if root is None else fit(root), effect)


def mean_acceleration(poses: Float[np.ndarray, "T 17 3"], fps: float) -> float | None:
    """Mean acceleration of the joints against the pelvis, m/s^2; ``None`` for fewer than three frames."""
    if len(poses) < 3:
        return None
    return round(float(np.linalg.norm(np.diff(poses, 2, axis=0), axis=-1).mean()) * fps**2, 3)
