"""The surface of the procedural person: closed tubes around the bones of ``figure``, 6890 vertices in all.

All vertices of a ring have the same blend weights and stand evenly around their centre, so where a ring goes
around a joint, its mean is that joint in every pose and shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64

from langpose_dist.skeleton import swap_sides
from langpose_dist.synthesis.figure import JOINTS, Vector, rest_joints

_X, _Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
_CAP = (0.5, 0.85)  # rings of a rounded end, in parts of its length
_SPREAD = 0.25  # of a section: from here to there a blend changes from one joint to the next

Point = tuple[str, Vector]
"""A joint, and an offset from it, metres."""


@dataclass(frozen=True)
class _Tube:
    """A closed tube through points, left or in the middle of the body at rest."""

    group: str
    """Tubes of one group grow together."""
    points: tuple[Point, ...]
    drivers: tuple[str, ...]
    """The joint that moves each section between two points."""
    across: Vector
    """Direction of the first half-width; the second is at right angles to it and to the tube."""
    num_rings: int
    num_segments: int
    widths: tuple[tuple[float, float, float], ...]
    """Places, counted in points, and the two half-widths there, metres."""


def _at(joint: str, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Point:
    return joint, (x, y, z)


def _finger(name: str) -> _Tube:
    size = 1.2 if name == "thumb" else 0.85 if name == "pinky" else 1.0
    joints = [f"left_{name}{number}" for number in (1, 2, 3)]
    tip = (0.018, -0.002, 0.015) if name == "thumb" else (0.02, 0.0, 0.0)
    widths = tuple((place, size * width, size * width) for place, width in ((0.0, 0.009), (4.0, 0.007)))
    points = (_at(joints[0], -0.012), *map(_at, joints), _at(joints[2], *tip))
    return _Tube("hands", points, ("left_wrist", *joints), _Y, 12, 6, widths)


_NOSE, _SKULL = _at("head", 0.0, 0.034, 0.016), _at("head", 0.0, 0.115, 0.0)
"""Points of the head that keypoints are made from."""

# fmt: off
_MIDDLE = (
    _Tube(
        "torso",
        (_at("pelvis", 0.0, -0.09), *map(_at, ("pelvis", "spine1", "spine2", "spine3")),
         _at("spine3", 0.0, 0.11, -0.015), _at("neck", 0.0, -0.02)),
        ("pelvis", "pelvis", "spine1", "spine2", "spine3", "spine3"), _X, 50, 40,
        ((0.0, 0.115, 0.085), (0.6, 0.16, 0.115), (1.0, 0.165, 0.11), (2.0, 0.14, 0.098), (3.0, 0.15, 0.105),
         (4.0, 0.162, 0.112), (5.0, 0.145, 0.09), (5.6, 0.095, 0.07), (6.0, 0.055, 0.055)),
    ),
    _Tube(
        "neck",
        (_at("neck", 0.0, -0.06), _at("neck"), _at("head"), _at("head", 0.0, 0.03)),
        ("spine3", "neck", "head"), _X, 12, 24,
        ((0.0, 0.065, 0.062), (1.0, 0.058, 0.058), (3.0, 0.054, 0.056)),
    ),
    _Tube(
        "head",
        (_at("head", 0.0, -0.055, 0.04), _NOSE, _SKULL),
        ("head", "head"), _X, 32, 36,
        ((0.0, 0.042, 0.05), (0.5, 0.064, 0.073), (1.0, 0.075, 0.09),
         (1.4, 0.079, 0.098), (1.8, 0.077, 0.097), (2.0, 0.074, 0.094)),
    ),
)

_LEFT = (
    _Tube(
        "legs",
        (_at("left_hip", 0.0, 0.05), *map(_at, ("left_hip", "left_knee", "left_ankle")),
         _at("left_ankle", 0.0, -0.045, 0.01)),
        ("pelvis", "left_hip", "left_knee", "left_ankle"), _X, 32, 20,
        ((0.0, 0.072, 0.085), (1.0, 0.083, 0.092), (1.4, 0.076, 0.082), (2.0, 0.052, 0.056),
         (2.3, 0.052, 0.058), (2.7, 0.04, 0.044), (3.0, 0.036, 0.042), (4.0, 0.034, 0.044)),
    ),
    _Tube(
        "feet",
        (_at("left_ankle", -0.004, -0.045, -0.04), _at("left_foot"), _at("left_foot", 0.006, -0.008, 0.06)),
        ("left_ankle", "left_foot"), _X, 12, 16,
        ((0.0, 0.034, 0.034), (1.0, 0.046, 0.027), (2.0, 0.036, 0.016)),
    ),
    _Tube(
        "arms",
        (_at("left_collar", -0.03, -0.01),
         *map(_at, ("left_collar", "left_shoulder", "left_elbow", "left_wrist")), _at("left_wrist", 0.02)),
        ("spine3", "left_collar", "left_shoulder", "left_elbow", "left_wrist"), _Y, 26, 16,
        ((0.0, 0.055, 0.055), (1.0, 0.062, 0.06), (2.0, 0.055, 0.056), (2.4, 0.046, 0.048),
         (3.0, 0.037, 0.04), (3.3, 0.037, 0.042), (4.0, 0.023, 0.031), (5.0, 0.021, 0.032)),
    ),
    _Tube(
        "hands",
        (_at("left_wrist", 0.015, 0.0, -0.004), _at("left_wrist", 0.085, 0.0, -0.006)),
        ("left_wrist",), _Y, 8, 12,
        ((0.0, 0.02, 0.034), (0.5, 0.018, 0.042), (1.0, 0.014, 0.042)),
    ),
    *map(_finger, ("index", "middle", "ring", "pinky", "thumb")),
)
# fmt: on

GROUPS = ("torso", "neck", "head", "legs", "feet", "arms", "hands")
"""Groups of tubes that grow together."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Vertices as ``centres @ joints + growth of the group * local``."""

    centres: Float64[np.ndarray, "V 52"]
    local: Float64[np.ndarray, "V 3"]
    radial: Float64[np.ndarray, "V 3"]
    """The part of ``local`` that points away from the ring's centre."""
    groups: Int64[np.ndarray, "V"]
    weights: Float64[np.ndarray, "V 52"]
    faces: Int64[np.ndarray, "F 3"]
    rings: Mapping[str, Int64[np.ndarray, "..."]]
    """Vertices around each joint, the nose and the skull."""


def build_surface() -> Surface:
    """Build the surface of the unshaped person at rest; equal on every call."""
    left = [_build_tube(tube) for tube in _LEFT]
    pieces = [*map(_build_tube, _MIDDLE), *left, *map(_mirrored, left)]
    starts = np.cumsum([0, *(len(piece.centres) for piece in pieces[:-1])])
    rings: dict[str, Int64[np.ndarray, ...]] = {}
    for start, piece in zip(starts, pieces, strict=True):
        rings |= {name: start + ring for name, ring in piece.rings.items()}
    return Surface(
        *(
            np.concatenate([getattr(piece, name) for piece in pieces])
            for name in ("centres", "local", "radial", "groups", "weights")
        ),
        faces=np.concatenate([start + piece.faces for start, piece in zip(starts, pieces, strict=True)]),
        rings=rings,
    )


def _mirrored(piece: Surface) -> Surface:
    """The same on the other side; faces still look outward."""
    sides = [JOINTS.index(swap_sides(joint)) for joint in JOINTS]
    return replace(
        piece,
        centres=piece.centres[:, sides],
        weights=piece.weights[:, sides],
        local=piece.local * (-1, 1, 1),
        radial=piece.radial * (-1, 1, 1),
        faces=piece.faces[:, ::-1],
        rings={swap_sides(name): ring for name, ring in piece.rings.items()},
    )


def _build_tube(tube: _Tube) -> Surface:
    rest = rest_joints()
    indices = [JOINTS.index(joint) for joint, _ in tube.points]
    offsets = np.array([offset for _, offset in tube.points])
    corners = rest[indices] + offsets
    places = _ring_places(corners, tube.num_rings - 2 * len(_CAP))
    weights = _blend(tube, places)

    direction = (corners[-1] - corners[0]) / np.linalg.norm(corners[-1] - corners[0])
    second = np.cross(direction, tube.across)
    second /= np.linalg.norm(second)
    axes = np.stack((np.cross(second, direction), second))
    where, *widths = np.array(tube.widths).T
    halves = np.stack([np.interp(places, where, width) for width in widths], axis=1)

    # A row of numbers for every ring and both poles: the ends are drawn out and narrowed to round caps.
    steps = np.array([*_CAP, 1.0])
    ends = np.r_[-steps[::-1] * halves[0].mean(), np.zeros(len(places)), steps * halves[-1].mean()] * 0.8
    rows = np.r_[[0] * len(steps), np.arange(len(places)), [len(places) - 1] * len(steps)]
    narrow = np.sqrt(1 - steps**2)
    halves = halves[rows] * np.r_[narrow[::-1], np.ones(len(places)), narrow][:, None]
    spots = _between(places, len(corners))[rows]
    centres = np.zeros((len(rows), len(JOINTS)))
    for column, joint in enumerate(indices):
        centres[:, joint] += spots[:, column]
    middles = spots @ offsets + ends[:, None] * direction

    angles = np.arange(tube.num_segments) * 2 * np.pi / tube.num_segments
    around = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    owners = np.r_[0, np.repeat(np.arange(1, len(rows) - 1), tube.num_segments), len(rows) - 1]
    radial = np.concatenate(
        (np.zeros((1, 3)), ((halves[1:-1, None] * around) @ axes).reshape(-1, 3), np.zeros((1, 3)))
    )
    local = middles[owners] + radial
    faces = _faces(tube.num_rings, tube.num_segments)
    rings = {
        name: np.flatnonzero(owners == len(steps) + np.flatnonzero(places == number)[0])
        for number, name in _named_points(tube)
    }
    centres, weights = centres[owners], weights[rows][owners]
    groups = np.full(len(local), GROUPS.index(tube.group))
    return Surface(centres, local, radial, groups, weights, faces, rings)


def _named_points(tube: _Tube) -> list[tuple[int, str]]:
    names = {_NOSE: "nose", _SKULL: "skull"}
    return [
        (number, names.get(point, point[0]))
        for number, point in enumerate(tube.points)
        if point in names or not any(point[1])
    ]


def _ring_places(corners: Float64[np.ndarray, "P 3"], num_rings: int) -> Float64[np.ndarray, "R"]:
    """Places of rings, counted in points: one at each point, the others where sections are longest."""
    lengths = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    counts = np.ones(len(lengths), np.int64)
    for _ in range(num_rings - len(corners)):
        counts[np.argmax(lengths / counts)] += 1
    return np.r_[
        np.concatenate([number + np.arange(count) / count for number, count in enumerate(counts)]),
        float(len(lengths)),
    ]


def _between(places: Float64[np.ndarray, "R"], num_points: int) -> Float64[np.ndarray, "R P"]:
    """Weights of the points that give the places between them."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(num_points)))


def _blend(tube: _Tube, places: Float64[np.ndarray, "R"]) -> Float64[np.ndarray, "R 52"]:
    """Each section follows its driver, half and half at the joint between two."""
    weights = np.zeros((len(places), len(JOINTS)))
    weights[:, JOINTS.index(tube.drivers[0])] = 1
    for number, driver in enumerate(tube.drivers[1:], 1):
        t = np.clip((places - number) / (2 * _SPREAD) + 0.5, 0, 1)
        share = (t * t * (3 - 2 * t))[:, None]
        weights = (1 - share) * weights
        weights[:, JOINTS.index(driver)] += share[:, 0]
    return weights


def _faces(num_rings: int, num_segments: int) -> Int64[np.ndarray, "F 3"]:
    """Triangles of rings between two poles, seen counter-clockwise from outside."""
    here = np.arange(num_segments)
    after = (here + 1) % num_segments
    last = 1 + (num_rings - 1) * num_segments
    triangles = [np.stack((np.zeros_like(here), 1 + after, 1 + here), axis=1)]
    for start in range(1, last, num_segments):
        above = start + num_segments
        triangles.append(np.stack((start + here, start + after, above + after), axis=1))
        triangles.append(np.stack((start + here, above + after, above + here), axis=1))
    triangles.append(np.stack((last + here, last + after, np.full_like(here, last + num_segments)), axis=1))
    return np.concatenate(triangles)
