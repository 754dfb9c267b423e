"""The procedural person as a body model in SMPL+H's layout, and the regressor that goes with it.

Shapes and proportions are this project's own, like the figure's. As rings of vertices around the joints keep
their means there (see ``surface``), the joints of the model and the keypoints of the regressor are exact.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from langpose_dist.skeleton import H36M17, JointMap
from langpose_dist.synthesis.figure import JOINTS, PARENTS, pose_joints, rest_joints, to_matrices
from langpose_dist.synthesis.surface import FINGERS, GROUPS, NOSE, SKULL, Surface, build_surface

REGRESSOR = "J_regressor_h36m_correct.npy"
"""The usual name of the regressor's file."""

BULGE = 0.15
"""How far a bent joint's ring grows, against the loss of volume by blending: by this share for 60 degrees."""

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

_GENDERS = {
    "neutral": {},
    "male": {0: 0.9, 4: 1.2, 5: -0.5, 8: 0.8, 9: 0.4},
    "female": {0: -0.9, 4: -1.2, 5: 0.7, 7: 0.5, 8: -0.8, 9: -0.4},
}
"""Shape parameters of the template."""

_FROM_JOINTS: JointMap = {
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    "spine": {"spine1": 0.3, "spine2": 0.7},
    "thorax": {"neck": 1.0},
    "neck": {"nose": 1.0},
    "head": {"skull": 1.5, "nose": -0.5},
}
"""Keypoints that are no joint of the same name."""


def write_body_models(folder: Path) -> dict[str, Path]:
    """Write ``smplh/{neutral,male,female}/model.npz``; equal on every call.

    Args:
        folder: Made if needed.

    Returns:
        File by gender.
    """
    surface = build_surface()
    rest = rest_joints()
    directions = _shape_directions(surface, rest)
    regressor = np.stack([_ring_mean(surface, {joint: 1.0}) for joint in JOINTS])
    parents = np.array([2**32 - 1, *PARENTS[1:]])  # as unsigned -1, like the official files
    members = {
        "shapedirs": directions,
        "posedirs": _pose_directions(surface),
        "J_regressor": regressor,
        "weights": surface.weights,
        "kintree_table": np.stack((parents, np.arange(len(JOINTS)))).astype(np.uint32),
        "f": surface.faces.astype(np.uint32),
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
        **_hands(),
    }
    paths = {}
    for gender, shape in _GENDERS.items():
        betas = np.array([shape.get(number, 0.0) for number in range(len(_SHAPES))])
        template = surface.centres @ rest + surface.local + directions @ betas
        paths[gender] = folder / "smplh" / gender / "model.npz"
        paths[gender].parent.mkdir(parents=True, exist_ok=True)
        own = {"v_template": template, "J": regressor @ template}
        np.savez_compressed(paths[gender], allow_pickle=False, **members, **own)
    return paths


def write_regressor(path: Path) -> None:
    """Write the matrix that makes the keypoints of ``H36M17`` from the vertices."""
    surface = build_surface()
    rows = [_ring_mean(surface, _FROM_JOINTS.get(name, {name: 1.0})) for name in H36M17.joints]
    np.save(path, np.stack(rows))


def intended_keypoints(
    poses: Float64[np.ndarray, "T 156"], trans: Float64[np.ndarray, "T 3"]
) -> Float64[np.ndarray, "T 17 3"]:
    """Where the keypoints of the neutral, unshaped body should be, from its joints alone, metres."""
    joints = pose_joints(poses, trans)
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    head, turn = JOINTS.index("head"), np.eye(3)
    joint = head
    while joint >= 0:
        turn = turns[:, joint] @ turn
        joint = PARENTS[joint]
    places = {name: joints[:, index] for index, name in enumerate(JOINTS)}
    for name, (_, offset) in (("nose", NOSE), ("skull", SKULL)):
        places[name] = joints[:, head] + turn @ np.array(offset)
    result = [
        sum(weight * places[place] for place, weight in _FROM_JOINTS.get(name, {name: 1.0}).items())
        for name in H36M17.joints
    ]
    return np.stack(np.broadcast_arrays(*result), axis=1)


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
    """A joint's ring grows as the trace of its rotation falls, which is 3 at rest and 2 at 60 degrees."""
    directions = np.zeros((len(surface.radial), 3, (len(JOINTS) - 1) * 9), np.float32)
    for joint, parent in enumerate(PARENTS[1:], 1):
        share = 4 * surface.weights[:, joint] * surface.weights[:, parent]
        grow = -BULGE * share[:, None] * surface.radial
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
