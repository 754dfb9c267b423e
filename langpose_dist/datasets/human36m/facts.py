"""Shared by both forms of Human3.6M: rate, names of actions, what drifts, the sample of a clip."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64

from langpose_dist.data.sample import DataError, Sample, Span
from langpose_dist.datasets.arrays import LARGEST
from langpose_dist.datasets.human36m.cameras import Camera
from langpose_dist.datasets.timing import frame_places

FRAME_RATE = 50.0

ACTIONS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        2: ("Directions", "directions"),
        3: ("Discussion", "discussion"),
        4: ("Eating", "eating"),
        5: ("Greeting", "greeting"),
        6: ("Phoning", "phoning"),
        7: ("Posing", "posing"),
        8: ("Purchases", "purchases"),
        9: ("Sitting", "sitting"),
        10: ("SittingDown", "sitting down"),
        11: ("Smoking", "smoking"),
        12: ("Photo", "taking photo"),
        13: ("Waiting", "waiting"),
        14: ("Walking", "walking"),
        15: ("WalkDog", "walking dog"),
        16: ("WalkTogether", "walking together"),
    }
)
"""Number in ``act_02`` and so on -> (VideoPose3D's name, label)."""

DRIFTING: Mapping[str, str] = MappingProxyType({"remark": "drifting"})
"""Field of three recordings of S9 whose 3D moves away from the person in the video: in the data set's
numbering Greeting 2, SittingDown 2 and Waiting 1, which are the files named 'Greeting', 'SittingDown 1' and
'Waiting 1'. MotionBERT's evaluation leaves them out, VideoPose3D's counts them."""


def make_sample(
    key: str,
    poses: Float64[np.ndarray, "T 17 3"],
    *,
    label: str,
    fps: float,
    meta: Mapping[str, Any],
    camera: Camera | None = None,
    keypoints: Float64[np.ndarray, "T 17 3"] | None = None,
) -> Sample:
    """A clip at the target rate, with one span.

    Args:
        key: Of the sample.
        poses: World, metres, at 50 Hz.
        label: Of all frames.
        fps: Target rate.
        meta: Added to what every sample says.
        camera: That saw it.
        keypoints: Pixels of that camera, and a confidence.

    Raises:
        DataError: If positions are beyond float32.
    """
    if not (np.abs(poses) < LARGEST).all():
        raise DataError("NaN or infinity: positions beyond float32")
    places = frame_places(len(poses), FRAME_RATE, fps)
    keypoints_2d = None
    if camera is not None and keypoints is not None:
        confidence = keypoints[..., 2:].clip(0, 1)  # heat maps overshoot a little
        normalised = np.concatenate((camera.normalise(keypoints[..., :2]), confidence), axis=-1)
        keypoints_2d = places.interpolate(normalised).astype(np.float32)
    poses_3d = places.interpolate(poses).astype(np.float32)
    return Sample(
        key=key,
        poses_3d=poses_3d,
        spans=(Span(label, 0, len(poses_3d)),),
        meta={
            **meta,
            "dataset": "human3.6m",
            "fps": fps,
            "original_fps": FRAME_RATE,
            **({"camera": camera.meta()} if camera else {}),
        },
        keypoints_2d=keypoints_2d,
    )


def pixels_per_mm(root_depth: Float64[np.ndarray, "T"], focal_length: float) -> Float64[np.ndarray, "T"]:
    """The inverse of MotionBERT's ``2.5d_factor`` for pelvises so many millimetres deep.

    A box reaches 1 m to either side of the pelvis; it is 2000 mm wide, and 2000 f / Z + 1 pixels.
    """
    return (2000 * focal_length / root_depth + 1) / 2000
