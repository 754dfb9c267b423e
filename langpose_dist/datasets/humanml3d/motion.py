"""Motions of HumanML3D and KIT-ML: their joints, units and axes, and the way to the common skeleton.

Both data sets come in this layout and with y up. What differs is the skeleton, the rate, the unit and, in
KIT-ML, the handedness of the axes:

* KIT-ML's joints keep the order and the names of the MMM body model, whose L is the person's own left: the
  model is right-handed with x right, y forward and z up, and its left hip lies at x = -52. The positions
  were made from it by exchanging y and z, which is a reflection. Read as right-handed, each clip shows the
  mirror image of what was recorded, with the L joints on its right, which may be why other code calls joints
  5 to 7 and 11 to 15 right, against the captions. Here the names hold, and the reflection is undone where
  the files show one: by toes, shins and hips, which differ between a body and its mirror image.
* KIT-ML's bones are in thousandths of the body height (thigh 245, shin 246), the root's path in millimetres
  of the recording. A recorded person of 1.82 m shows it: with bones times 1.82 a standing foot moves 2 mm
  while the root moves 22 mm, and its toes are 2 cm above the floor; with bones times 1, 10 mm and 45 cm.
  The heights of the others are not in this layout, so that all get the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from langpose_dist.data.sample import DataError
from langpose_dist.datasets.arrays import read_npy
from langpose_dist.skeleton import H36M17, HUMANML3D, KIT_ML, JointMap

BODY_HEIGHT = 1.75
"""Metres; taken for everyone in KIT-ML."""

LARGEST = 1e6
"""Coordinates beyond it are damage, in any unit."""


@dataclass(frozen=True)
class Layout:
    """Differences between the two data sets."""

    fps: float
    fps_is: str
    """Reliability of the rate: ``nominal`` or ``documented``."""
    joints: tuple[str, ...]
    """In the order of axis J."""
    joint_map: JointMap
    toes: tuple[str, str]
    """The joints at the end of the left and right foot."""
    root_unit: float
    """Metres per unit of the first joint's position."""
    bone_unit: float
    """Metres per unit of the other joints' positions relative to it."""


LAYOUTS: Mapping[str, Layout] = {
    "humanml3d": Layout(
        fps=20.0,
        # Every n-th frame of the original was kept, n rounded down: 250 Hz became 20.8, 59.94 Hz 29.97.
        fps_is="nominal",
        # The first 22 of SMPL.
        joints=(
            *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
            *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar"),
            *("right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
            *("left_wrist", "right_wrist"),
        ),
        joint_map=HUMANML3D,
        toes=("left_foot", "right_foot"),
        root_unit=1.0,
        bone_unit=1.0,
    ),
    "kit-ml": Layout(
        fps=12.5,
        fps_is="documented",
        joints=(
            *("root", "BP", "BT", "BLN", "BUN", "LS", "LE", "LW", "RS", "RE", "RW"),
            *("LH", "LK", "LA", "LMrot", "LF", "RH", "RK", "RA", "RMrot", "RF"),
        ),
        joint_map=KIT_ML,
        toes=("LF", "RF"),
        root_unit=0.001,
        bone_unit=0.001 * BODY_HEIGHT,
    ),
}
"""By name of the data set."""


def read_joints(path: Path, num_joints: int) -> Float64[np.ndarray, "T J 3"]:
    """Joints of a motion, in the file's unit and axes.

    Raises:
        DataError: If it is not a whole array of T x ``num_joints`` x 3 finite numbers, T at least 2.
        OSError: If it cannot be read.
    """
    content = read_npy(path)
    if content.ndim != 3 or content.shape[1:] != (num_joints, 3):
        raise DataError(f"wrong shape: {content.shape}, not T x {num_joints} x 3")
    if len(content) < 2:
        raise DataError(f"too short: {len(content)} frames")
    joints = np.array(content, dtype=np.float64)
    usable = (np.abs(joints) < LARGEST).all(axis=(1, 2))  # false for NaN
    if not usable.all():
        raise DataError(f"NaN or infinity: in {(~usable).sum()} of {len(joints)} frames")
    return joints


def right_handed(joints: Float64[np.ndarray, "T J 3"], layout: Layout) -> Bool[np.ndarray, "T"]:
    """Per frame, whether left and right joints lie as in a person seen in right-handed axes.

    The toes are in front of the shin in any posture, kneeling too, and in right-handed axes front x left
    points up the shin.

    Args:
        joints: In the file's axes.
        layout: Gives the joints.
    """

    def of(joint: str) -> Float64[np.ndarray, "T 3"]:
        return joints[:, layout.joints.index(joint)]

    def mapped(joint: str) -> Float64[np.ndarray, "T 3"]:
        (source,) = layout.joint_map[joint]
        return of(source)

    left = mapped("left_hip") - mapped("right_hip")
    volume = np.zeros(len(joints))
    for side, toe in zip(("left", "right"), layout.toes, strict=True):
        ankle = mapped(f"{side}_ankle")
        volume += (np.cross(of(toe) - ankle, left) * (mapped(f"{side}_knee") - ankle)).sum(axis=1)
    return volume > 0


def to_poses(
    joints: Float64[np.ndarray, "T J 3"], layout: Layout, *, left_handed: bool
) -> Float64[np.ndarray, "T 17 3"]:
    """The common skeleton in metres, right-handed, z up, with the clip's lowest joint at height 0.

    Args:
        joints: In the file's axes and unit.
        layout: Gives the joints and units.
        left_handed: Whether the file's axes are.
    """
    x, y, z = np.moveaxis(joints, -1, 0)
    turned = np.stack((x, z if left_handed else -z, y), axis=-1)
    root = turned[:, :1]
    metres = root * layout.root_unit + (turned - root) * layout.bone_unit
    metres[..., 2] -= metres[..., 2].min()
    weights = np.zeros((H36M17.num_joints, len(layout.joints)))
    for joint, sources in layout.joint_map.items():
        for source, weight in sources.items():
            weights[H36M17.index(joint), layout.joints.index(source)] = weight
    return np.einsum("kj,tjc->tkc", weights, metres)
