"""People in a video as a 2D detector saw them, in the joints of ``skeleton.H36M17``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Track:
    """One person over consecutive frames of the video; gaps that are short enough to fill are filled."""

    person: str
    """Id: "0", "1", ..."""
    first_frame: int
    """Of the video, counted from 0."""
    keypoints: Float[np.ndarray, "T 17 3"]
    """x, y in pixels of the picture, confidence in 0..1. Confidence 0 is not seen; x and y are then
    interpolated over time where a gap was filled."""
    seen: Bool[np.ndarray, "T 17"]
    """Detected in that frame above the threshold."""


@dataclass(frozen=True)
class Tracks:
    """All people of a video."""

    people: tuple[Track, ...]
    num_frames: int
    """Length of the time axis of the video as far as the file shows it."""
    fps: float | None
    """Where the file says it."""
    size: tuple[int, int] | None
    """Width and height of the picture where the file says it."""
    detector: str
    """Kind, such as "OpenPose JSON"."""
    layout: str
    """Such as "body25"."""
    facts: Mapping[str, Any]
    """Counts for the report: frames, people per frame, share of points dropped by the threshold, filled
    frames, split gaps, chosen persons."""
