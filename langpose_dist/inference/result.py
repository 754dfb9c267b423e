"""Result of lifting: one person in 3D, with everything that was assumed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class LiftedClip:
    """One person over consecutive frames of the video."""

    person: str
    """Id, as in the track."""
    first_frame: int
    """Of the video, counted from 0."""
    fps: float
    """Of the video."""
    poses_3d: Float[np.ndarray, "T 17 3"]
    """Metres, camera axes (x right, y down, z forward), pelvis at 0."""
    keypoints_2d: Float[np.ndarray, "T 17 3"]
    """Pixels and confidence, as they were used."""
    seen: Bool[np.ndarray, "T 17"]
    """Joints that the detector saw; the places of the others are the model's guess."""
    root: Float[np.ndarray, "T 3"] | None
    """Estimated position of the pelvis in the camera, metres."""
    size: tuple[int, int]
    """Width and height of the picture."""
    labels: Mapping[str, Float[np.ndarray, "T"]]
    """Label -> probability over time; empty without labels."""
    facts: Mapping[str, Any]
    """Everything that was assumed: normalisation, source of the scale, rates, detector, model and so on."""
