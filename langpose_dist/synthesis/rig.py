"""From channels to SMPL+H poses: the trunk and arms by angles, the legs so that feet stand where they should.

World axes are AMASS's: z up, the floor at 0. In the body's own axes x points left, y up and z forward.
"""

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.figure import JOINTS, to_matrices
from langpose_dist.synthesis.motion import INDEX, SIDES, Person, Rows, Side, Times, ease, side_sign

MAX_KNEE = 150.0
"""Degrees that a knee bends at most."""

MAX_ELBOW = 150.0
"""Degrees that an elbow bends at most."""

_STRAIGHTEST = 6.0  # degrees that a knee is bent at least
_MIRROR = np.diag([-1.0, 1.0, 1.0])
_TO_WORLD = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # facing the world's x
_HEEL = -0.05  # behind the ankle, metres

Matrices = Float64[np.ndarray, "T 3 3"]
Vectors = Float64[np.ndarray, "T 3"]


def solve(rows: Rows, person: Person) -> tuple[Float64[np.ndarray, "T 156"], Float64[np.ndarray, "T 3"]]:
    """AMASS's ``poses`` (radians) and ``trans`` (metres) of channels whose floor coordinates are the world's.

    The knees are never bent the wrong way; where a foot on the floor is out of reach, the pelvis comes down.
    """
    turns = np.broadcast_to(np.eye(3), (len(rows), len(JOINTS), 3, 3)).copy()
    _turn_trunk(turns, rows)
    for side in SIDES:
        _turn_arm(turns, rows, side)
        _curl_fingers(turns, rows, side)
    pelvis = np.stack(
        [
            rows[:, INDEX["forward"]],
            rows[:, INDEX["aside"]],
            np.maximum(person.standing + rows[:, INDEX["height"]], 0.1),
        ],
        axis=-1,
    )
    feet: dict[Side, tuple[Vectors, Matrices]] = {side: _foot(rows, person, side) for side in SIDES}
    pelvis[:, 2] -= _out_of_reach(pelvis, turns[:, 0], feet, rows, person)
    for side in SIDES:
        _turn_leg(turns, rows, person, side, pelvis, *feet[side])
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

    Goes through the quaternion, of which the largest part is computed first.
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


def _joint(name: str) -> int:
    return JOINTS.index(name)


def _turn_trunk(turns: Float64[np.ndarray, "T 52 3 3"], rows: Rows) -> None:
    def channel(name: str) -> Times:
        return rows[:, INDEX[name]]

    turns[:, 0] = (
        _TO_WORLD
        @ rotation("y", channel("yaw"))
        @ rotation("x", channel("pitch"))
        @ rotation("z", -channel("roll"))
    )
    for name, share in (("spine1", 0.35), ("spine2", 0.35), ("spine3", 0.3)):
        turns[:, _joint(name)] = (
            rotation("y", share * channel("twist"))
            @ rotation("x", share * channel("bend"))
            @ rotation("z", -share * channel("lean"))
        )
    for name, share in (("neck", 0.45), ("head", 0.55)):
        turns[:, _joint(name)] = (
            rotation("y", share * channel("look"))
            @ rotation("x", share * channel("nod"))
            @ rotation("z", -share * channel("tilt"))
        )


def _turn_arm(turns: Float64[np.ndarray, "T 52 3 3"], rows: Rows, side: Side) -> None:
    def channel(name: str) -> Times:
        return rows[:, INDEX[f"{side}_{name}"]]

    # A left arm, hanging and then raised; a right arm is its mirror image.
    raised = channel("up")
    upper = (
        rotation("x", -channel("swing"))
        @ rotation("y", channel("out"))
        @ rotation("x", -raised)
        @ rotation("y", channel("turn") - channel("out"))
        @ rotation("z", np.full(len(rows), -90.0))
    )
    # The shoulder girdle takes a part of what is above the horizontal; the upper arm's direction stays.
    collar = rotation("z", channel("shrug") + 22.0 * ease((raised - 40.0) / 140.0))
    matrices = {
        "collar": collar,
        "shoulder": np.swapaxes(collar, -1, -2) @ upper,
        "elbow": rotation("y", -np.clip(channel("elbow"), 0.0, MAX_ELBOW)),
        "wrist": rotation("x", channel("pronate")) @ rotation("z", -channel("wrist")),
    }
    for name, matrix in matrices.items():
        turns[:, _joint(f"{side}_{name}")] = matrix if side == "left" else _MIRROR @ matrix @ _MIRROR


def _curl_fingers(turns: Float64[np.ndarray, "T 52 3 3"], rows: Rows, side: Side) -> None:
    curl = rows[:, INDEX[f"{side}_curl"]]
    finger, thumb = rotation("z", -side_sign(side) * curl), rotation("y", side_sign(side) * 0.5 * curl)
    for index, name in enumerate(JOINTS):
        if name.startswith(side) and name[-1].isdigit():
            turns[:, index] = thumb if "thumb" in name else finger


def _foot(rows: Rows, person: Person, side: Side) -> tuple[Vectors, Matrices]:
    """World position of the ankle and turn of the foot: it pivots on its ball, or on its heel."""

    def channel(name: str) -> Times:
        return rows[:, INDEX[f"{side}_{name}"]]

    pitch = channel("foot_pitch")
    ball = person.rest[_joint(f"{side}_foot")] - person.rest[_joint(f"{side}_ankle")]
    heel = np.array([0.0, -person.ankle, _HEEL])
    flat = _TO_WORLD @ rotation("y", channel("foot_yaw"))
    turn = flat @ rotation("x", pitch)
    pivot = np.where(pitch[:, None] > 0, ball, heel)[..., None]
    ankle = (flat @ pivot - turn @ pivot)[..., 0]
    ankle += np.stack(
        [channel("foot_forward"), channel("foot_aside"), person.ankle + channel("foot_lift")], axis=-1
    )
    return ankle, turn


def _reach(person: Person, side: Side, degrees: float) -> float:
    """Distance from hip to ankle at a bend of the knee."""
    thigh, shank = _leg(person, side)
    turned = rotation("x", np.array([degrees]))[0] @ shank
    return float(np.linalg.norm(thigh + turned))


def _leg(person: Person, side: Side) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    hip, knee, ankle = (person.rest[_joint(f"{side}_{name}")] for name in ("hip", "knee", "ankle"))
    return knee - hip, ankle - knee


def _planted(rows: Rows, side: Side) -> Times:
    """1 for a foot on the floor, 0 for one well above it."""
    return 1 - ease(rows[:, INDEX[f"{side}_foot_lift"]] / 0.08)


def _hip(pelvis: Vectors, turn: Matrices, person: Person, side: Side) -> Vectors:
    return pelvis + turn @ (person.rest[_joint(f"{side}_hip")] - person.rest[0])


def _out_of_reach(
    pelvis: Vectors,
    turn: Matrices,
    feet: dict[Side, tuple[Vectors, Matrices]],
    rows: Rows,
    person: Person,
) -> Times:
    """How far the pelvis must come down so that the legs reach the feet on the floor, metres."""
    down = np.zeros(len(rows))
    for side in SIDES:
        gap = _hip(pelvis, turn, person, side) - feet[side][0]
        reach = _reach(person, side, _STRAIGHTEST + 2)
        limit = np.sqrt(np.maximum(reach**2 - (gap[:, :2] ** 2).sum(axis=1), 0.05**2))
        excess = (gap[:, 2] - limit) * _planted(rows, side)
        # Rounded off within a centimetre, or the knees would snap.
        down = np.maximum(down, 0) + 0.5 * (excess - down + np.hypot(excess - down, 0.01))
    return down


def _turn_leg(
    turns: Float64[np.ndarray, "T 52 3 3"],
    rows: Rows,
    person: Person,
    side: Side,
    pelvis: Vectors,
    ankle: Vectors,
    foot: Matrices,
) -> None:
    thigh, shank = _leg(person, side)
    to_pelvis = np.swapaxes(turns[:, 0], -1, -2)
    way = (to_pelvis @ (ankle - _hip(pelvis, turns[:, 0], person, side))[..., None])[..., 0]
    # |thigh + Rx(knee) shank| is the distance to cover; the solution that bends the shank backwards.
    along = thigh[1] * shank[1] + thigh[2] * shank[2]
    across = thigh[2] * shank[1] - thigh[1] * shank[2]
    cosine = ((way**2).sum(axis=1) - thigh @ thigh - shank @ shank - 2 * thigh[0] * shank[0]) / (
        2 * np.hypot(along, across)
    )
    straight = np.degrees(np.arctan2(across, along))
    bend = straight + np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    knee = rotation("x", np.clip(bend, _STRAIGHTEST, MAX_KNEE))

    # The leg's plane: the knee points between where the foot and where the pelvis points.
    yaw = rows[:, INDEX["yaw"]]
    out = rows[:, INDEX[f"{side}_knee_out"]] * side_sign(side)
    aim = yaw + 0.6 * (rows[:, INDEX[f"{side}_foot_yaw"]] - yaw) + out
    axis = (to_pelvis @ _TO_WORLD @ rotation("y", aim))[..., 0]
    local = _frame(thigh + (knee @ shank), np.array([1.0, 0.0, 0.0]))
    hip = _frame(way, axis) @ np.swapaxes(local, -1, -2)

    ankle_turn = np.swapaxes(turns[:, 0] @ hip @ knee, -1, -2) @ foot
    lifted = 1 - _planted(rows, side)
    pitch = rows[:, INDEX[f"{side}_foot_pitch"]]
    turns[:, _joint(f"{side}_hip")] = hip
    turns[:, _joint(f"{side}_knee")] = knee
    turns[:, _joint(f"{side}_ankle")] = _limit_ankle(ankle_turn, lifted)
    turns[:, _joint(f"{side}_foot")] = rotation("x", -np.clip(pitch, 0.0, 70.0) * (1 - lifted))


def _frame(first: Vectors, second: Float64[np.ndarray, "*#T 3"]) -> Matrices:
    """Orthonormal columns: along the first vector, and as near to the second as possible."""
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    second = second - (first * second).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _limit_ankle(turn: Matrices, lifted: Times) -> Matrices:
    """A foot in the air goes along with its shank."""
    angles = np.degrees(to_axis_angles(turn))
    limits = np.array([[-30.0, -20.0, -20.0], [45.0, 20.0, 20.0]])
    limited = np.clip(angles, *limits)
    angles += lifted[:, None] * (limited - angles)
    return to_matrices(np.radians(angles))
