"""The procedural person at rest: joints of SMPL+H, where they are, and how a pose moves them.

Proportions are those of an adult of about 1.7 m, rounded and symmetric; they are this project's own and not
taken from a body model. Axes at rest are SMPL's: x to the person's left, y up, z forward; the pelvis is at 0.
"""

import numpy as np
from jaxtyping import Float64

FINGERS = ("index", "middle", "pinky", "ring", "thumb")
"""Fingers in SMPL+H's order."""

_FINGER_ROOTS = {  # from the wrist, of the left hand in T-pose
    "index": (0.095, 0.0, 0.024),
    "middle": (0.098, 0.0, 0.002),
    "pinky": (0.080, 0.0, -0.038),
    "ring": (0.092, 0.0, -0.018),
    "thumb": (0.030, -0.008, 0.028),
}
_PHALANGES = {
    "index": (0.032, 0.023),
    "middle": (0.034, 0.025),
    "pinky": (0.024, 0.018),
    "ring": (0.032, 0.024),
    "thumb": (0.034, 0.028),
}
_THUMB = np.array([0.75, -0.1, 0.65])

# Joint -> parent and offset from it in metres; the left side's are mirrored. SMPL's order: first the body,
# the sides taking turns, then the hands.
_BODY: tuple[tuple[str, str | None, tuple[float, float, float]], ...] = (
    ("pelvis", None, (0.0, 0.0, 0.0)),
    ("left_hip", "pelvis", (0.085, -0.085, 0.0)),
    ("right_hip", "pelvis", (-0.085, -0.085, 0.0)),
    ("spine1", "pelvis", (0.0, 0.115, -0.02)),
    ("left_knee", "left_hip", (0.015, -0.395, 0.005)),
    ("right_knee", "right_hip", (-0.015, -0.395, 0.005)),
    ("spine2", "spine1", (0.0, 0.130, 0.01)),
    ("left_ankle", "left_knee", (0.0, -0.405, -0.03)),
    ("right_ankle", "right_knee", (0.0, -0.405, -0.03)),
    ("spine3", "spine2", (0.0, 0.060, 0.01)),
    ("left_foot", "left_ankle", (0.02, -0.055, 0.125)),
    ("right_foot", "right_ankle", (-0.02, -0.055, 0.125)),
    ("neck", "spine3", (0.0, 0.205, -0.03)),
    ("left_collar", "spine3", (0.075, 0.115, -0.02)),
    ("right_collar", "spine3", (-0.075, 0.115, -0.02)),
    ("head", "neck", (0.0, 0.085, 0.04)),
    ("left_shoulder", "left_collar", (0.105, 0.035, -0.01)),
    ("right_shoulder", "right_collar", (-0.105, 0.035, -0.01)),
    ("left_elbow", "left_shoulder", (0.265, 0.0, -0.01)),
    ("right_elbow", "right_shoulder", (-0.265, 0.0, -0.01)),
    ("left_wrist", "left_elbow", (0.255, 0.0, 0.0)),
    ("right_wrist", "right_elbow", (-0.255, 0.0, 0.0)),
)


def _hand(side: str) -> list[tuple[str, str, tuple[float, float, float]]]:
    sign = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    joints = []
    for finger in FINGERS:
        direction = _THUMB / np.linalg.norm(_THUMB) if finger == "thumb" else np.array([1.0, 0.0, 0.0])
        offsets = [np.array(_FINGER_ROOTS[finger]), *(length * direction for length in _PHALANGES[finger])]
        parent = f"{side}_wrist"
        for number, offset in enumerate(offsets, 1):
            name = f"{side}_{finger}{number}"
            x, y, z = (float(value) for value in offset * sign)
            joints.append((name, parent, (x, y, z)))
            parent = name
    return joints


_ALL = (*_BODY, *_hand("left"), *_hand("right"))

JOINTS: tuple[str, ...] = tuple(name for name, _, _ in _ALL)
"""SMPL+H's 52 joints in order: 22 of the body, 15 of each hand."""

PARENTS: tuple[int, ...] = tuple(-1 if parent is None else JOINTS.index(parent) for _, parent, _ in _ALL)
"""Index of each joint's parent; -1 for the pelvis."""


def rest_joints() -> Float64[np.ndarray, "52 3"]:
    """Where the joints are at rest, arms out to the sides (T-pose), metres."""
    positions = np.zeros((len(JOINTS), 3))
    for index, (_, _, offset) in enumerate(_ALL):
        positions[index] = np.array(offset) + (positions[PARENTS[index]] if PARENTS[index] >= 0 else 0)
    return positions


def pose_joints(
    poses: Float64[np.ndarray, "T 156"],
    trans: Float64[np.ndarray, "T 3"],
    rest: Float64[np.ndarray, "52 3"] | None = None,
) -> Float64[np.ndarray, "T 52 3"]:
    """Where a pose puts the joints.

    Args:
        poses: Axis-angle of each joint relative to its parent, radians, as in AMASS.
        trans: Added to all joints, metres.
        rest: Joints at rest; the unshaped figure's by default.

    Returns:
        Metres, in the axes that the pelvis' rotation leads to.
    """
    rest = rest_joints() if rest is None else rest
    turns = to_matrices(poses.reshape(len(poses), -1, 3))
    positions = np.empty((len(poses), len(JOINTS), 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            positions[:, joint] = rest[joint] + trans
        else:
            positions[:, joint] = positions[:, parent] + turns[:, parent] @ (rest[joint] - rest[parent])
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
    return positions


def to_matrices(rotations: Float64[np.ndarray, "*S 3"]) -> Float64[np.ndarray, "*S 3 3"]:
    """Axis-angle, radians, to rotation matrices, by Rodrigues' formula."""
    angle = np.linalg.norm(rotations, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotations, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    # np.sinc is sin(pi x) / (pi x): both factors stay exact towards no rotation.
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / 2 / np.pi) ** 2 * cross @ cross
