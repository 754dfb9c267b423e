"""Orders of keypoints that detectors write, told apart by their number, their names or the face."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from langpose_dist.config import UserError, suggest
from langpose_dist.skeleton import (
    BODY25,
    BODY25_KEYPOINTS,
    BODY25B,
    BODY25B_KEYPOINTS,
    COCO17,
    COCO17_KEYPOINTS,
    COCO18,
    COCO18_KEYPOINTS,
    H36M17,
    HALPE26,
    HALPE26_KEYPOINTS,
    HALPE136_KEYPOINTS,
    MEDIAPIPE33_KEYPOINTS,
    WHOLEBODY133_KEYPOINTS,
    JointMap,
)

FACE = ("left_eye", "right_eye", "left_ear", "right_ear")

CLEAR_SHARE = 0.9
"""Share of people whose faces must speak for one of two layouts; in recordings it was 1.0."""


@dataclass(frozen=True)
class Layout:
    """Keypoints in their order, and how the 17 joints come out of them."""

    name: str
    keypoints: tuple[str, ...]
    joint_map: JointMap

    @cached_property
    def used(self) -> tuple[str, ...]:
        """Keypoints that the joints are made of, in their order."""
        needed = {name for weights in self.joint_map.values() for name in weights}
        return tuple(name for name in self.keypoints if name in needed)

    @cached_property
    def columns(self) -> list[int]:
        """Positions of ``used``."""
        return [self.keypoints.index(name) for name in self.used]


_H36M17: JointMap = {joint: {joint: 1.0} for joint in H36M17.joints}

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("coco17", COCO17_KEYPOINTS, COCO17),
        Layout("coco18", COCO18_KEYPOINTS, COCO18),
        Layout("body25", BODY25_KEYPOINTS, BODY25),
        Layout("body25b", BODY25B_KEYPOINTS, BODY25B),
        Layout("halpe26", HALPE26_KEYPOINTS, HALPE26),
        Layout("mediapipe33", MEDIAPIPE33_KEYPOINTS, COCO17),
        Layout("wholebody133", WHOLEBODY133_KEYPOINTS, COCO17),
        Layout("halpe136", HALPE136_KEYPOINTS, HALPE26),
        Layout("h36m17", H36M17.joints, _H36M17),
    )
}

_MMPOSE_H36M17 = {
    "root": "pelvis",
    "right_foot": "right_ankle",
    "left_foot": "left_ankle",
    "neck_base": "neck",
}
"""MMPose's names of Human3.6M's joints, where they are not ours (``configs/_base_/datasets/h36m.py``)."""


def named_layout(name: str, num_keypoints: int) -> Layout:
    """The layout that a user asks for.

    Raises:
        UserError: If there is none of this name, or it has another number of keypoints.
    """
    if name not in LAYOUTS:
        raise UserError(f"layout {name!r} is not one of {', '.join(LAYOUTS)}{suggest(name, [*LAYOUTS])}")
    if len(LAYOUTS[name].keypoints) != num_keypoints:
        raise UserError(
            f"layout {name} has {len(LAYOUTS[name].keypoints)} keypoints, the file has {num_keypoints}; "
            f"{_accepted()}"
        )
    return LAYOUTS[name]


def layout_of_names(names: Sequence[str]) -> Layout:
    """The layout that takes most out of keypoints whose names the file gives.

    Raises:
        UserError: If they do not hold a body.
    """
    ours = [_MMPOSE_H36M17.get(name, name) for name in names] if "root" in names else names
    for name in ("h36m17", "halpe26", "coco17"):
        if set(LAYOUTS[name].used) <= set(ours):
            return Layout(name, tuple(ours), LAYOUTS[name].joint_map)
    missing = [name for name in LAYOUTS["coco17"].used if name not in names]
    raise UserError(
        f"the file's {len(names)} named keypoints have no {', '.join(missing[:3])}; a model with COCO's 17 "
        "keypoints among its own is needed"
    )


def counted_layout(people: Sequence[Float[np.ndarray, "K 3"]], *, is_bare: bool) -> Layout:
    """The layout that has as many keypoints as the people; where several have, the one that their faces fit.

    Args:
        people: Some of the file's.
        is_bare: True where no known program wrote them, so that they may be joints of Human3.6M.

    Raises:
        UserError: If none or several fit.
    """
    num_keypoints = len(people[0])
    fitting = [layout for layout in LAYOUTS.values() if len(layout.keypoints) == num_keypoints]
    if not is_bare:
        fitting = [layout for layout in fitting if layout.name != "h36m17"]
    if not fitting:
        raise UserError(f"{num_keypoints} keypoints of a person are of no known layout; {_accepted()}")
    if len(fitting) == 1:
        return fitting[0]
    faced = [layout for layout in fitting if set(FACE) <= set(layout.keypoints)]
    if len(faced) == len(fitting):
        radii = np.array([[_face_radius(person, layout) for layout in faced] for person in people])
        nearest = radii[np.isfinite(radii).all(axis=1)].argmin(axis=1)
        shares = np.bincount(nearest, minlength=len(faced)) / max(len(nearest), 1)
        if shares.max() >= CLEAR_SHARE:
            return faced[int(shares.argmax())]
    names = " or ".join(layout.name for layout in fitting)
    raise UserError(
        f"{num_keypoints} keypoints may be {names}, and the file does not tell; name it: --layout"
    )


def _face_radius(person: Float[np.ndarray, "K 3"], layout: Layout) -> float:
    """Distance from the nose to the farthest of eyes and ears that was seen; not a number without them."""
    face = person[[layout.keypoints.index(name) for name in FACE]]
    face = face[face[:, 2] > 0]
    if not len(face) or person[0, 2] == 0:  # the nose comes first in every layout
        return np.nan
    return float(np.linalg.norm(face[:, :2] - person[0, :2], axis=1).max())


def _accepted() -> str:
    counts = ", ".join(f"{name} ({len(layout.keypoints)})" for name, layout in LAYOUTS.items())
    return f"accepted: {counts}"


def map_keypoints(
    keypoints: Float[np.ndarray, "*B K 3"], layout: Sequence[str], joint_map: JointMap
) -> Float[np.ndarray, "*B J 3"]:
    """Map 2D keypoints of another layout to the joints of a map.

    Args:
        keypoints: x and y in any unit, and confidence.
        layout: Names of the K keypoints.
        joint_map: Its target joints are the J joints.

    Returns:
        Weighted means of positions, each with the lowest confidence of the keypoints that it is made of.

    Raises:
        ValueError: If K is not the layout's, or the map needs a keypoint that the layout lacks.
    """
    if keypoints.shape[-2:] != (len(layout), 3):
        raise ValueError(f"keypoints are {keypoints.shape}, the layout has {len(layout)} x 3")
    joints = []
    for joint, weights in joint_map.items():
        if missing := [name for name in weights if name not in layout]:
            raise ValueError(f"{joint} is made of {missing[0]}, which the layout lacks")
        sources = keypoints[..., [layout.index(name) for name in weights], :]
        position = np.einsum("...kc,k->...c", sources[..., :2], np.array(list(weights.values())))
        joints.append(np.concatenate((position, sources[..., 2:].min(axis=-2)), axis=-1))
    return np.stack(joints, axis=-2).astype(keypoints.dtype)
