"""People in a video, as every reader of detections hands them on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32


@dataclass(frozen=True)
class Track:
    """One person over consecutive frames of the video; short gaps are filled."""

    person: str
    """The detector's id, or a number in the order of appearance."""
    first_frame: int
    """Of the video, counted from 0."""
    keypoints: Float32[np.ndarray, "T 17 3"]
    """Joints of ``H36M17``: x and y in pixels of the picture, confidence in 0..1. Where a joint was not seen
    its confidence is 0, and x and y are interpolated over a short gap, else 0."""
    seen: Bool[np.ndarray, "T 17"]
    """True where the joint was detected in that frame, above the threshold."""


@dataclass(frozen=True)
class Tracks:
    """The chosen people of a video, and what is known of it."""

    people: tuple[Track, ...]
    """A person who was away for long has several, in the order of time."""
    num_frames: int
    """Length of the video as far as the file shows it."""
    fps: float | None
    """Where the file says it."""
    size: tuple[int, int] | None
    """Width and height of the picture in pixels, where the file or the user says it."""
    detector: str
    """Kind of file, such as ``OpenPose JSON``."""
    layout: str
    """Keypoints that it held, such as ``body25``."""
    facts: Mapping[str, Any]
    """Counts for the report, JSON values only."""

    @property
    def seen_points(self) -> Float32[np.ndarray, "N 2"]:
        """Pixels of every joint that was seen."""
        return np.concatenate([track.keypoints[track.seen, :2] for track in self.people])
