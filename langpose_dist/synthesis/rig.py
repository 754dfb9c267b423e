"""From channels to SMPL+H poses: the trunk and arms by angles, the legs so that feet stand where they should.

World axes are AMASS's: z up, the floor at 0. In the body's own axes x points left, y up and z forward.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.figure import JOINTS, to_matrices
from langpose_dist.synthesis.motion import (
    CHANNELS,
    SIDE_CHANNELS,
    SIDES,
    Person,
    Rows,
    Side,
    Times,
    ease,
    side_sign,
)

_MIN_KNEE_DEG, _MAX_KNEE_DEG = 6.0, 150.0
_MAX_ELBOW_DEG = 150.0
_MIRROR = np.diag([-1.0, 1.0, 1.0])
_TO_WORLD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # facing the world's x
_HEEL_M = -0.05  # from the ankle, forward

Matrices = Float64[np.ndarray, "T 3 3"]
Vectors = Float64[np.ndarray, "T 3"]
Turns = Float64[np.ndarray, "T 52 3 3"]
Channels = Mapping[str, Times]


def solve(rows: Rows, person: Person) -> tuple[Float64[np.ndarray, "T 156"], Float64[np.ndarray, "T 3"]]:
    """AMASS's ``poses`` (radians) and ``trans`` (metres) of channels whose floor coordinates are the world's.

    The knees are never bent the wrong way; where a foot on the floor is out of reach, the pelvis comes down.
    """
    turns = np.broadcast_to(np.eye(3), (len(rows), len(JOINTS), 3, 3)).copy()
    body = dict(zip(CHANNELS, rows.T, strict=True))
    sides = {side: body | {name: body[f"{side}_{name}"] for name in SIDE_CHANNELS} for side in SIDES}
    _turn_trunk(turns, body)
    height = np.maximum(person.standing + body["height"], 0.1)
    pelvis = np.stack([body["forward"], body["aside"], height], axis=-1)
    legs = [_Leg(side, sides[side], person) for side in SIDES]
    pelvis[:, 2] -= _out_of_reach(pelvis, turns[:, 0], legs)
    for side, leg in zip(SIDES, legs, strict=True):
        _turn_arm(turns, sides[side], side)
        _curl_fingers(turns, sides[side]["curl"], side)
        leg.turn(turns, pelvis)
    poses = to_axis_angles(turns).reshape(len(rows), -1)
    return poses, pelvis - person.rest[0]


def rotation(axis: str, degrees: Times) -> Matrices:
    """Right-handed rotations about x, y or z."""
    angles = np.radians(degrees)
    matrices = np.zeros((len(degrees), 3, 3))
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    fixed = 3 - first - second
    matrices[:, fixed, fixed] = 1.0
    matrices[:, first, first] = matrices[:, second, second] = np.cos(angles)
    matrices[:, second, first] = np.sin(angles)
    matrices[:, first, second] = -matrices[:, second, first]
    return matrices


def to_axis_angles(matrices: Float64[np.ndarray, "*S 3 3"]) -> Float64[np.ndarray, "*S 3"]:
    """Rotation matrices to axis-angle, radians, at most pi; exact near 0 and near pi.

    Goes through the quaternion, whose largest part is computed first.
    """
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    # Row k is the quaternion (w, x, y, z) times four times its k-th part.
    w = np.stack(
        [1 + trace, m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]], -1
    )
    largest = np.argmax(np.stack([trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], -1), axis=-1)
    quaternion = w
    if (largest > 0).any():
        for part, (i, j, k) in enumerate(((0, 1, 2), (1, 2, 0), (2, 0, 1)), 1):
            row = np.empty_like(w)
            row[..., 0] = m[..., k, j] - m[..., j, k]
            row[..., 1 + i] = 1 + m[..., i, i] - m[..., j, j] - m[..., k, k]
            row[..., 1 + j] = m[..., j, i] + m[..., i, j]
            row[..., 1 + k] = m[..., k, i] + m[..., i, k]
            quaternion = np.where((largest == part)[..., None], row, quaternion)
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(sine > 1e-12, angle / sine, 2.0)
    return factor * quaternion[..., 1:]


def _turned(left: Times, forward: Times, right: Times) -> Matrices:
    """Turn to the left, bend forward and lean to the right."""
    return rotation("y", left) @ rotation("x", forward) @ rotation("z", right)


def _joint(name: str) -> int:
    return JOINTS.index(name)


def _turn_trunk(turns: Turns, body: Channels) -> None:
    turns[:, 0] = _TO_WORLD @ _turned(body["yaw"], body["pitch"], -body["roll"])
    for name, share in (("spine1", 0.35), ("spine2", 0.35), ("spine3", 0.3)):
        turns[:, _joint(name)] = _turned(share * body["twist"], share * body["bend"], -share * body["lean"])
    for name, share in (("neck", 0.45), ("head", 0.55)):
        turns[:, _joint(name)] = _turned(share * body["look"], share * body["nod"], -share * body["tilt"])


def _turn_arm(turns: Turns, own: Channels, side: Side) -> None:
    # A left arm, hanging and then raised; a right arm is its mirror image.
    upper = (
        rotation("x", -own["swing"])
        @ rotation("y", own["out"])
        @ rotation("x", -own["up"])
        @ rotation("y", own["turn"] - own["out"])
        @ rotation("z", np.full(len(turns), -90.0))
    )
    # The shoulder girdle takes a part of what is above the horizontal; the upper arm's direction stays.
    collar = rotation("z", own["shrug"] + 22.0 * ease((own["up"] - 40.0) / 140.0))
    matrices = {
        "collar": collar,
        "shoulder": np.swapaxes(collar, -1, -2) @ upper,
        "elbow": rotation("y", -np.clip(own["elbow"], 0.0, _MAX_ELBOW_DEG)),
        "wrist": rotation("x", own["pronate"]) @ rotation("z", -own["wrist"]),
    }
    for name, matrix in matrices.items():
        turns[:, _joint(f"{side}_{name}")] = matrix if side == "left" else _MIRROR @ matrix @ _MIRROR


def _curl_fingers(turns: Turns, curl: Times, side: Side) -> None:
    finger, thumb = rotation("z", -side_sign(side) * curl), rotation("y", side_sign(side) * 0.5 * curl)
    for index, name in enumerate(JOINTS):
        if name.startswith(side) and name[-1].isdigit():
            turns[:, index] = thumb if "thumb" in name else finger


class _Leg:
    """A leg, from where its foot is to the turns of its joints; ``own`` are channels by their short names."""

    def __init__(self, side: Side, own: Channels, person: Person) -> None:
        hip, knee, ankle, ball = (
            person.rest[_joint(f"{side}_{name}")] for name in ("hip", "knee", "ankle", "foot")
        )
        self._side: Side = side
        self._own = own
        self._hip_offset = hip - person.rest[0]
        self._thigh, self._shank = knee - hip, ankle - knee
        self.planted = 1 - ease(own["foot_lift"] / 0.08)
        """1 for a foot on the floor, 0 for one well above it."""

        # The foot pivots on its ball, or on its heel.
        flat = _TO_WORLD @ rotation("y", own["foot_yaw"])
        self._foot = flat @ rotation("x", own["foot_pitch"])
        heel = np.array([0.0, -person.ankle, _HEEL_M])
        pivot = np.where(own["foot_pitch"][:, None] > 0, ball - ankle, heel)[..., None]
        self.ankle = (flat @ pivot - self._foot @ pivot)[..., 0]
        """Its place in the world, metres."""
        self.ankle += np.stack(
            [own["foot_forward"], own["foot_aside"], person.ankle + own["foot_lift"]], axis=-1
        )

    @property
    def reach(self) -> float:
        """Distance from hip to ankle with the knee almost straight, metres."""
        turned = rotation("x", np.array([_MIN_KNEE_DEG + 2]))[0] @ self._shank
        return float(np.linalg.norm(self._thigh + turned))

    def hip(self, pelvis: Vectors, turn: Matrices) -> Vectors:
        """Place of the hip in the world, metres."""
        return pelvis + turn @ self._hip_offset

    def turn(self, turns: Turns, pelvis: Vectors) -> None:
        """Turn hip, knee, ankle and toes so that the foot stands where it should."""
        own, side, thigh, shank = self._own, self._side, self._thigh, self._shank
        to_pelvis = np.swapaxes(turns[:, 0], -1, -2)
        way = (to_pelvis @ (self.ankle - self.hip(pelvis, turns[:, 0]))[..., None])[..., 0]
        knee = rotation("x", np.clip(self._bend((way**2).sum(axis=1)), _MIN_KNEE_DEG, _MAX_KNEE_DEG))

        # The leg's plane: the knee points between where the foot and where the pelvis points.
        aim = own["yaw"] + 0.6 * (own["foot_yaw"] - own["yaw"]) + own["knee_out"] * side_sign(side)
        axis = (to_pelvis @ _TO_WORLD @ rotation("y", aim))[..., 0]
        local = _frame(thigh + (knee @ shank), np.array([1.0, 0.0, 0.0]))
        hip = _frame(way, axis) @ np.swapaxes(local, -1, -2)

        ankle = np.swapaxes(turns[:, 0] @ hip @ knee, -1, -2) @ self._foot
        lifted = 1 - self.planted
        turns[:, _joint(f"{side}_hip")] = hip
        turns[:, _joint(f"{side}_knee")] = knee
        turns[:, _joint(f"{side}_ankle")] = _limit_ankle(ankle, lifted)
        turns[:, _joint(f"{side}_foot")] = rotation(
            "x", -np.clip(own["foot_pitch"], 0.0, 70.0) * (1 - lifted)
        )

    def _bend(self, squared: Times) -> Times:
        """Bend of the knee, degrees, at a squared distance from hip to ankle.

        |thigh + Rx(knee) shank| is that distance; of two solutions, the one that bends the shank backwards.
        """
        thigh, shank = self._thigh, self._shank
        along = thigh[1] * shank[1] + thigh[2] * shank[2]
        across = thigh[2] * shank[1] - thigh[1] * shank[2]
        cosine = (squared - thigh @ thigh - shank @ shank - 2 * thigh[0] * shank[0]) / (
            2 * np.hypot(along, across)
        )
        straight = np.degrees(np.arctan2(across, along))
        return straight + np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _out_of_reach(pelvis: Vectors, turn: Matrices, legs: list[_Leg]) -> Times:
    """Distance that the pelvis must come down so that the legs reach the feet on the floor, metres."""
    down = np.zeros(len(pelvis))
    for leg in legs:
        gap = leg.hip(pelvis, turn) - leg.ankle
        limit = np.sqrt(np.maximum(leg.reach**2 - (gap[:, :2] ** 2).sum(axis=1), 0.05**2))
        excess = (gap[:, 2] - limit) * leg.planted
        # Rounded off within a centimetre, or the knees would snap.
        down = np.maximum(down, 0) + 0.5 * (excess - down + np.hypot(excess - down, 0.01))
    return down


def _frame(first: Vectors, second: Float64[np.ndarray, "*#T 3"]) -> Matrices:
    """Orthonormal columns: along the first vector, and as near to the second as possible."""
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    second = second - (first * second).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _limit_ankle(turn: Matrices, lifted: Times) -> Matrices:
    """Let a foot in the air follow its shank."""
    angles = np.degrees(to_axis_angles(turn))
    limits = np.array([[-30.0, -20.0, -20.0], [45.0, 20.0, 20.0]])
    limited = np.clip(angles, *limits)
    angles += lifted[:, None] * (limited - angles)
    return to_matrices(np.radians(angles))
