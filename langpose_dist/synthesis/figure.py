"""The procedural person at rest: the joints of SMPL+H, their places, and forward kinematics.

Proportions are those of an adult of about 1.7 m, rounded and symmetric; they are this project's own and not
taken from a body model. Axes at rest are SMPL's: x to the person's left, y up, z forward; the pelvis is at 0.
"""

import itertools

import numpy as np
from jaxtyping import Float64

from langpose_dist.skeleton import swap_sides

Vector = tuple[float, float, float]
Row = tuple[str, str | None, Vector]
"""Joint, its parent, and its offset from it, metres."""

# The middle and the left side of the body, in SMPL's order.
_BODY: tuple[Row, ...] = (
    ("pelvis", None, (0.0, 0.0, 0.0)),
    ("left_hip", "pelvis", (0.085, -0.085, 0.0)),
    ("spine1", "pelvis", (0.0, 0.115, -0.02)),
    ("left_knee", "left_hip", (0.015, -0.395, 0.005)),
    ("spine2", "spine1", (0.0, 0.130, 0.01)),
    ("left_ankle", "left_knee", (0.0, -0.405, -0.03)),
    ("spine3", "spine2", (0.0, 0.060, 0.01)),
    ("left_foot", "left_ankle", (0.02, -0.055, 0.125)),
    ("neck", "spine3", (0.0, 0.205, -0.03)),
    ("left_collar", "spine3", (0.075, 0.115, -0.02)),
    ("head", "neck", (0.0, 0.085, 0.04)),
    ("left_shoulder", "left_collar", (0.105, 0.035, -0.01)),
    ("left_elbow", "left_shoulder", (0.265, 0.0, -0.01)),
    ("left_wrist", "left_elbow", (0.255, 0.0, 0.0)),
)

_OUTWARD, _THUMB = np.array([1.0, 0.0, 0.0]), np.array([0.75, -0.1, 0.65])
# Finger -> its root from the wrist, lengths of two phalanges, and direction.
_FINGERS = {
    "index": ((0.095, 0.0, 0.024), (0.032, 0.023), _OUTWARD),
    "middle": ((0.098, 0.0, 0.002), (0.034, 0.025), _OUTWARD),
    "pinky": ((0.080, 0.0, -0.038), (0.024, 0.018), _OUTWARD),
    "ring": ((0.092, 0.0, -0.018), (0.032, 0.024), _OUTWARD),
    "thumb": ((0.030, -0.008, 0.028), (0.034, 0.028), _THUMB / np.linalg.norm(_THUMB)),
}

FINGERS = tuple(_FINGERS)
"""Fingers in SMPL+H's order."""


def _left_hand() -> list[Row]:
    rows: list[Row] = []
    for finger, (root, phalanges, direction) in _FINGERS.items():
        parent = "left_wrist"
        for number, offset in enumerate((root, *(length * direction for length in phalanges)), 1):
            x, y, z = (float(value) for value in offset)
            rows.append((f"left_{finger}{number}", parent, (x, y, z)))
            parent = f"left_{finger}{number}"
    return rows


def _mirrored(row: Row) -> Row:
    name, parent, (x, y, z) = row
    return swap_sides(name), parent and swap_sides(parent), (-x, y, z)


def _all_joints() -> list[Row]:
    """Rows of both sides, which take turns in the body; the right hand follows the left."""
    body = [(row, _mirrored(row)) if row[0].startswith("left_") else (row,) for row in _BODY]
    hand = _left_hand()
    return [*itertools.chain(*body), *hand, *map(_mirrored, hand)]


_ALL = _all_joints()

JOINTS: tuple[str, ...] = tuple(name for name, _, _ in _ALL)
"""SMPL+H's 52 joints in order: 22 of the body, 15 of each hand."""

PARENTS: tuple[int, ...] = tuple(-1 if parent is None else JOINTS.index(parent) for _, parent, _ in _ALL)
"""Index of each joint's parent; -1 for the pelvis."""


def rest_joints() -> Float64[np.ndarray, "52 3"]:
    """Places of the joints at rest, arms out to the sides (T-pose), metres."""
    positions = np.zeros((len(JOINTS), 3))
    for index, (_, _, offset) in enumerate(_ALL):
        positions[index] = np.array(offset) + (positions[PARENTS[index]] if PARENTS[index] >= 0 else 0)
    return positions


def pose_joints(
    poses: Float64[np.ndarray, "T 156"],
    trans: Float64[np.ndarray, "T 3"],
    rest: Float64[np.ndarray, "52 3"] | None = None,
) -> Float64[np.ndarray, "T 52 3"]:
    """Places of the joints in a pose; see ``pose_and_turn``, of which ``rest`` is the unshaped figure's."""
    return pose_and_turn(poses, trans, rest_joints() if rest is None else rest)[0]


def pose_and_turn(
    poses: Float64[np.ndarray, "T 156"],
    trans: Float64[np.ndarray, "T 3"],
    rest: Float64[np.ndarray, "52 3"],
) -> tuple[Float64[np.ndarray, "T 52 3"], Float64[np.ndarray, "T 52 3 3"]]:
    """Places of the joints in a pose, metres, and how each has turned from where it was at rest.

    Args:
        poses: Axis-angle of each joint relative to its parent, radians, as in AMASS.
        trans: Added to all joints, metres.
        rest: Joints at rest, metres.

    Returns:
        Both in the axes of the pelvis' rotation and ``trans``.
    """
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    positions = np.empty((len(poses), len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            positions[:, joint] = rest[joint] + trans
        else:
            positions[:, joint] = positions[:, parent] + turns[:, parent] @ (rest[joint] - rest[parent])
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
    return positions, turns


def to_matrices(rotations: Float64[np.ndarray, "*S 3"]) -> Float64[np.ndarray, "*S 3 3"]:
    """Axis-angle, radians, to rotation matrices, by Rodrigues' formula."""
    angle = np.linalg.norm(rotations, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotations, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    # np.sinc is sin(pi x) / (pi x): both factors stay exact towards no rotation.
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / 2 / np.pi) ** 2 * cross @ cross
