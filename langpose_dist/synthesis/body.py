"""The procedural person as a body model in SMPL+H's layout, and the matching keypoint regressor.

Shapes and proportions are this project's own, like the figure's. As rings of vertices around the joints keep
their means there (see ``surface``), the joints of the model and the keypoints of the regressor are exact.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from langpose_dist.skeleton import H36M17, JointMap
from langpose_dist.synthesis.figure import FINGERS, JOINTS, PARENTS, pose_and_turn, rest_joints
from langpose_dist.synthesis.surface import GROUPS, Surface, build_surface

_BULGE = 0.15
"""Growth of a joint's ring at a bend of 60 degrees, as a share, against the loss of volume by blending."""

# Per unit of a shape parameter: relative growth of the bones that lead to joints with such names, and of
# groups of tubes in width; the unit is about one standard deviation of adults.
_SHAPES: tuple[tuple[Mapping[str, float], Mapping[str, float]], ...] = (
    ({"": 0.035}, dict.fromkeys(GROUPS, 0.02)),
    ({}, dict.fromkeys(("torso", "neck", "legs", "arms"), 0.07)),
    ({"knee": 0.03, "ankle": 0.03, "spine": -0.02, "neck": -0.02}, {}),
    ({"elbow": 0.035, "wrist": 0.035}, {}),
    ({"collar": 0.04, "shoulder": 0.05}, {"torso": 0.01}),
    ({"hip": 0.06}, {"legs": 0.03}),
    ({}, {"torso": 0.06}),
    ({}, {"legs": 0.05}),
    ({}, {"arms": 0.05}),
    ({"head": 0.02}, {"head": 0.03}),
    ({"foot": 0.05}, {"feet": 0.05}),
    (dict.fromkeys(FINGERS, 0.05), {"hands": 0.05}),
    ({"knee": 0.02, "ankle": -0.02}, {}),
    ({"elbow": 0.02, "wrist": -0.02}, {}),
    ({"neck": 0.03, "head": 0.04}, {"neck": -0.02}),
    ({"spine": 0.025, "collar": 0.02}, {}),
)

GENDERS: Mapping[str, Mapping[int, float]] = {
    "neutral": {},
    "male": {0: 0.9, 4: 1.2, 5: -0.5, 8: 0.8, 9: 0.4},
    "female": {0: -0.9, 4: -1.2, 5: 0.7, 7: 0.5, 8: -0.8, 9: -0.4},
}
"""Gender -> shape parameters of its template."""

_FROM_JOINTS: JointMap = {
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    "spine": {"spine1": 0.3, "spine2": 0.7},
    "thorax": {"neck": 1.0},
    "neck": {"nose": 1.0},
    "head": {"skull": 1.5, "nose": -0.5},
}
"""Keypoints that are not the joint of the same name, as means of joints and points of the head."""

_HEAD_POINTS = ("nose", "skull")
"""Points that move with the head's joint."""


def body_model(gender: str) -> dict[str, Any]:
    """Arrays of ``smplh/GENDER/model.npz``; equal on every call."""
    surface, directions, regressor = _shapes()
    template = _template(gender)
    parents = np.array([2**32 - 1, *PARENTS[1:]])  # as unsigned -1, like the official files
    return {
        "shapedirs": directions,
        "posedirs": _pose_directions(surface),
        "J_regressor": regressor,
        "weights": surface.weights,
        "kintree_table": np.stack((parents, np.arange(len(JOINTS)))).astype(np.uint32),
        "f": surface.faces.astype(np.uint32),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
        **_hands(),
        "v_template": template,
        "J": regressor @ template,
    }


def keypoint_regressor() -> Float64[np.ndarray, "17 V"]:
    """The matrix that makes the keypoints of ``H36M17`` from the vertices."""
    surface, _, _ = _shapes()
    return np.stack([_ring_mean(surface, _FROM_JOINTS.get(name, {name: 1.0})) for name in H36M17.joints])


def shaped_rest_joints(gender: str, betas: Float64[np.ndarray, "16"]) -> Float64[np.ndarray, "52 3"]:
    """Joints at rest of a body of this shape, metres; with them the feet of every shape meet the floor."""
    return _joint_directions(gender) @ np.append(betas, 1.0)


def pose_keypoints(
    gender: str,
    betas: Float64[np.ndarray, "16"],
    poses: Float64[np.ndarray, "T 156"],
    trans: Float64[np.ndarray, "T 3"],
) -> Float64[np.ndarray, "T 17 3"]:
    """Keypoints of ``H36M17`` on a posed body, metres: those of the regressor, without vertices.

    ``poses`` and ``trans`` are AMASS's: axis-angle of each joint relative to its parent, radians, and metres.
    """
    rest = shaped_rest_joints(gender, betas)
    joints, turns = pose_and_turn(poses, trans, rest)
    places = {name: joints[:, index] for index, name in enumerate(JOINTS)}
    head = JOINTS.index("head")
    for name, point in zip(_HEAD_POINTS, _head_directions(gender) @ np.append(betas, 1.0), strict=True):
        places[name] = joints[:, head] + turns[:, head] @ (point - rest[head])
    return np.stack(
        [
            sum((weight * places[place] for place, weight in sources.items()), np.zeros((len(poses), 3)))
            for sources in (_FROM_JOINTS.get(name, {name: 1.0}) for name in H36M17.joints)
        ],
        axis=1,
    )


@functools.cache
def _joint_directions(gender: str) -> Float64[np.ndarray, "52 3 17"]:
    """Joints at rest per unit of each shape parameter, and last those of the template."""
    _, _, regressor = _shapes()
    return _regress(regressor, gender)


@functools.cache
def _head_directions(gender: str) -> Float64[np.ndarray, "2 3 17"]:
    """The same of the head's points."""
    surface, _, _ = _shapes()
    return _regress(np.stack([_ring_mean(surface, {name: 1.0}) for name in _HEAD_POINTS]), gender)


def _regress(regressor: Float64[np.ndarray, "N V"], gender: str) -> Float64[np.ndarray, "N 3 17"]:
    _, directions, _ = _shapes()
    vertices = np.concatenate((directions, _template(gender)[..., None]), axis=-1)
    return np.einsum("jv,vcb->jcb", regressor, vertices, optimize=True)


@functools.cache
def _shapes() -> tuple[Surface, Float64[np.ndarray, "V 3 16"], Float64[np.ndarray, "52 V"]]:
    """The surface, its displacement per unit of each shape parameter, and the regressor of its joints."""
    surface = build_surface()
    regressor = np.stack([_ring_mean(surface, {joint: 1.0}) for joint in JOINTS])
    return surface, _shape_directions(surface, rest_joints()), regressor


def _template(gender: str) -> Float64[np.ndarray, "V 3"]:
    surface, directions, _ = _shapes()
    betas = np.array([GENDERS[gender].get(number, 0.0) for number in range(len(_SHAPES))])
    return surface.centres @ rest_joints() + surface.local + directions @ betas


def _ring_mean(surface: Surface, places: Mapping[str, float]) -> Float64[np.ndarray, "V"]:
    row = np.zeros(len(surface.centres))
    for place, weight in places.items():
        row[surface.rings[place]] += weight / len(surface.rings[place])
    return row


def _shape_directions(surface: Surface, rest: Float64[np.ndarray, "52 3"]) -> Float64[np.ndarray, "V 3 16"]:
    directions = []
    for bones, groups in _SHAPES:
        moves = np.zeros_like(rest)
        for joint, parent in enumerate(PARENTS[1:], 1):
            growth = sum(value for part, value in bones.items() if part in JOINTS[joint])
            moves[joint] = moves[parent] + growth * (rest[joint] - rest[parent])
        growths = np.array([groups.get(group, 0.0) for group in GROUPS])
        directions.append(surface.centres @ moves + growths[surface.groups, None] * surface.local)
    return np.stack(directions, axis=-1)


def _pose_directions(surface: Surface) -> Float[np.ndarray, "V 3 459"]:
    """Growth of each joint's ring as the trace of its rotation falls, from 3 at rest to 2 at 60 degrees."""
    directions = np.zeros((len(surface.radial), 3, (len(JOINTS) - 1) * 9), np.float32)
    for joint, parent in enumerate(PARENTS[1:], 1):
        share = 4 * surface.weights[:, joint] * surface.weights[:, parent]
        grow = -_BULGE * share[:, None] * surface.radial
        for diagonal in (0, 4, 8):
            directions[:, :, (joint - 1) * 9 + diagonal] = grow
    return directions


def _hands() -> dict[str, Float64[np.ndarray, "..."]]:
    """A mean hand with bent fingers, and one component for each angle."""
    curl = np.zeros((15, 3))
    curl[:12, 2] = -0.2  # all but the thumb
    return {
        "hands_componentsl": np.eye(45),
        "hands_componentsr": np.eye(45),
        "hands_meanl": curl.ravel(),
        "hands_meanr": (curl * (1, -1, -1)).ravel(),
    }
