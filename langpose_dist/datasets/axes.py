"""Camera axes (x right, y down, z forward) turned so that up is z, for data that know no world.

The turned z is the image's vertical, which is the true one only where the camera was level.
"""

import numpy as np
from jaxtyping import Float64, Shaped

TO_CAMERA = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""Rotation from the turned axes back to the camera's."""


def from_camera_axes(points: Shaped[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 3"]:
    """World (x, z, -y) of camera (x, y, z): right-handed, x right, y forward, z up; the unit stays."""
    return np.asarray(points, np.float64) @ np.array(TO_CAMERA)
