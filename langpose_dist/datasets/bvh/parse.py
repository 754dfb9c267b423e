"""BVH motion capture: a strict parser and forward kinematics, in float64.

Source:
    The Biovision hierarchy format, as written by common tools: channels in any order and number, position
    channels that replace the joint's OFFSET, rotations that compose in channel order.
"""

import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from langpose_dist.config import UserError

END_SITE = " End"
"""Added to a joint's name to name its End Site."""

_AXES = {"x": 0, "y": 1, "z": 2}
_MOTION = re.compile(r"^[ \t]*MOTION[ \t\r]*$", re.MULTILINE)
_FRAMES = re.compile(r"\s*Frames\s*:\s*(\S+)\s*", re.IGNORECASE)
_FRAME_TIME = re.compile(r"\s*Frame\s+Time\s*:\s*(\S+)\s*", re.IGNORECASE)
_FRAME_TIMES = (1e-4, 1.0)
_TOKEN = re.compile(r"[{}]|[^\s{}]+")
_KEYWORDS = ("ROOT", "JOINT", "OFFSET", "CHANNELS", "MOTION", "}")

MAX_JOINTS = 1000
"""Joints of a file with its End Sites; bodies with hands and faces have about 200. Each costs memory in every
frame, however short its text is."""

MAX_WORDS = 20
"""Words of a joint's name."""

FRAMES_AT_ONCE = 1024


class BvhError(UserError):
    """A file that is not a whole BVH motion; the message is a short reason, ``kind: detail``."""


@dataclass(frozen=True)
class BvhJoint:
    """One joint of the hierarchy."""

    name: str
    parent: int
    """Index of the parent, which comes earlier; -1 for a root."""
    offset: tuple[float, float, float]
    """From the parent, in the parent's axes."""
    channels: tuple[tuple[str, int], ...]
    """("position" or "rotation", axis) in file order."""


@dataclass(frozen=True)
class Bvh:
    """A parsed file."""

    joints: tuple[BvhJoint, ...]
    """Parents before children; End Sites are joints without channels."""
    frame_time: float
    """Seconds from frame to frame."""
    motion: Float64[np.ndarray, "T C"]
    """Channel values, in the order of the joints' channels; rotations in degrees."""


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file.

    Raises:
        BvhError: If it is not a whole BVH motion.
        OSError: If it cannot be read.
    """
    return parse_bvh(path.read_text(encoding="utf-8-sig", errors="replace"))


def parse_bvh(text: str) -> Bvh:
    """Parse the text of a BVH file.

    Raises:
        BvhError: If it is not a whole BVH motion.
    """
    if not text.lstrip().startswith("HIERARCHY"):
        raise BvhError("not BVH: it does not begin with HIERARCHY")
    if (motion := _MOTION.search(text)) is None:
        raise BvhError("truncated hierarchy: no MOTION section")
    joints = _HierarchyParser(text[: motion.start()]).parse()
    lines = text[motion.end() :].split("\n")
    lines = [line for line in lines if not line.isspace() and line]
    num_frames, frame_time = _parse_motion_header(lines[:2])
    num_channels = sum(len(joint.channels) for joint in joints)
    return Bvh(joints, frame_time, _parse_rows(lines[2:], num_frames, num_channels))


def joint_positions(
    bvh: Bvh,
    points: Mapping[str, tuple[str, tuple[float, float, float]]] | None = None,
    wanted: Collection[str] | None = None,
) -> dict[str, Float64[np.ndarray, "T 3"]]:
    """World positions of joints, End Sites and extra points.

    Args:
        bvh: The motion.
        points: Name -> (joint, offset in that joint's axes): points that move with a joint.
        wanted: Names of those to return; default: all.

    Returns:
        Name -> positions in the file's unit and axes.

    Raises:
        BvhError: If a point's joint is missing.
    """
    names = {joint.name for joint in bvh.joints}
    for joint, _ in (points or {}).values():
        if joint not in names:
            raise BvhError(f"joint missing from the file: {joint}")
    parts: defaultdict[str, list[np.ndarray]] = defaultdict(list)
    for start in range(0, len(bvh.motion), FRAMES_AT_ONCE):
        found = _positions(bvh, bvh.motion[start : start + FRAMES_AT_ONCE], points or {})
        for name in found if wanted is None else found.keys() & wanted:
            parts[name].append(found[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _positions(
    bvh: Bvh,
    motion: Float64[np.ndarray, "T C"],
    points: Mapping[str, tuple[str, tuple[float, float, float]]],
) -> dict[str, Float64[np.ndarray, "T 3"]]:
    num_frames = len(motion)
    rotations: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    first = 0
    for joint in bvh.joints:
        values = motion[:, first : first + len(joint.channels)]
        first += len(joint.channels)
        position = np.tile(np.array(joint.offset), (num_frames, 1))
        rotation = np.broadcast_to(np.eye(3), (num_frames, 3, 3))
        for (kind, axis), value in zip(joint.channels, values.T, strict=True):
            if kind == "position":
                position[:, axis] = value
            else:
                rotation = rotation @ axis_rotation(axis, np.deg2rad(value))
        if joint.parent >= 0:
            parent = rotations[joint.parent]
            position = positions[joint.parent] + np.einsum("tij,tj->ti", parent, position)
            rotation = parent @ rotation
        rotations.append(rotation)
        positions.append(position)
    result = {joint.name: position for joint, position in zip(bvh.joints, positions, strict=True)}
    index = {joint.name: number for number, joint in enumerate(bvh.joints)}
    for name, (joint, offset) in points.items():
        result[name] = result[joint] + rotations[index[joint]] @ np.array(offset)
    return result


def axis_rotation(axis: int, angles: Float64[np.ndarray, " T"]) -> Float64[np.ndarray, "T 3 3"]:
    """Right-handed rotations about one coordinate axis; angles in radians."""
    matrices = np.zeros((len(angles), 3, 3))
    after, before = (axis + 1) % 3, (axis + 2) % 3
    matrices[:, axis, axis] = 1
    matrices[:, after, after] = matrices[:, before, before] = np.cos(angles)
    matrices[:, before, after] = np.sin(angles)
    matrices[:, after, before] = -matrices[:, before, after]
    return matrices


class _HierarchyParser:
    def __init__(self, text: str) -> None:
        self._tokens = (match[0] for match in _TOKEN.finditer(text))
        self._ahead = next(self._tokens, None)
        self._joints: list[BvhJoint] = []
        self._names: set[str] = set()

    def parse(self) -> tuple[BvhJoint, ...]:
        self._expect("HIERARCHY")
        parents: list[int] = []  # the open braces
        while self._ahead is not None or parents:
            keyword = self._next()
            if keyword == "}":
                if not parents:
                    raise BvhError("bad hierarchy: a closing brace too many")
                parents.pop()
            elif keyword == ("JOINT" if parents else "ROOT"):
                self._open(self._name(), parents, has_channels=True)
            elif keyword == "End" and parents:
                self._expect("Site")
                self._expect("{")
                self._open(self._joints[parents[-1]].name + END_SITE, parents, has_channels=False)
                self._expect("}")  # nothing but its offset
                parents.pop()
            else:
                raise BvhError(f"bad hierarchy: {keyword[:40]!r} where a joint or brace must be")
        if not any(joint.channels for joint in self._joints):
            raise BvhError("bad hierarchy: no channels")
        return tuple(self._joints)

    def _open(self, name: str, parents: list[int], *, has_channels: bool) -> None:
        if name in self._names:
            raise BvhError(f"bad hierarchy: two joints {name!r}")
        if len(self._names) == MAX_JOINTS:
            raise BvhError(f"bad hierarchy: more than {MAX_JOINTS} joints")
        self._names.add(name)
        self._expect("OFFSET")
        offset = (self._number(), self._number(), self._number())
        channels: list[tuple[str, int]] = []
        if has_channels and self._peek() == "CHANNELS":
            self._next()
            channels = [self._channel() for _ in range(int(self._number()))]
        self._joints.append(BvhJoint(name, parents[-1] if parents else -1, offset, tuple(channels)))
        parents.append(len(self._joints) - 1)

    def _name(self) -> str:
        words: list[str] = []
        while (word := self._next()) != "{":
            if (words and word in _KEYWORDS) or len(words) == MAX_WORDS:
                name = " ".join(words)[:40]
                raise BvhError(f"bad hierarchy: {word!r} after the name {name!r}, where {{ must be")
            words.append(word)
        return " ".join(words)

    def _channel(self) -> tuple[str, int]:
        channel = self._next()
        axis, kind = channel[:1].lower(), channel[1:].lower()
        if axis not in _AXES or kind not in ("position", "rotation"):
            raise BvhError(f"bad hierarchy: unknown channel {channel[:40]!r}")
        return kind, _AXES[axis]

    def _number(self) -> float:
        return _to_number(self._next(), "bad hierarchy")

    def _expect(self, keyword: str) -> None:
        if (token := self._next()) != keyword:
            raise BvhError(f"bad hierarchy: {token[:40]!r} where {keyword} must be")

    def _peek(self) -> str | None:
        return self._ahead

    def _next(self) -> str:
        if (token := self._peek()) is None:
            raise BvhError("truncated hierarchy: it ends inside a joint")
        self._ahead = next(self._tokens, None)
        return token


def _parse_motion_header(lines: list[str]) -> tuple[int, float]:
    if len(lines) < 2:
        raise BvhError("truncated motion: no Frames and Frame Time")
    frames, frame_time = _FRAMES.fullmatch(lines[0]), _FRAME_TIME.fullmatch(lines[1])
    if frames is None or frame_time is None:
        raise BvhError("bad motion header: Frames and Frame Time must follow MOTION")
    if not re.fullmatch(r"[0-9]{1,9}", frames[1]):
        raise BvhError(f"bad motion header: Frames {frames[1][:40]!r}")
    if (num_frames := int(frames[1])) == 0:
        raise BvhError("no frames")
    seconds = _to_number(frame_time[1], "bad motion header")
    if not _FRAME_TIMES[0] <= seconds <= _FRAME_TIMES[1]:
        raise BvhError(f"bad frame time: {seconds:g} s is outside {_FRAME_TIMES[0]:g}..{_FRAME_TIMES[1]:g} s")
    return num_frames, seconds


def _parse_rows(lines: list[str], num_frames: int, num_channels: int) -> Float64[np.ndarray, "T C"]:
    if len(lines) < num_frames:
        raise BvhError(f"truncated motion: {len(lines)} of {num_frames} frames")
    if len(lines) > num_frames:
        raise BvhError(f"more motion than Frames says: {len(lines)} rows for {num_frames} frames")
    rows: list[np.ndarray] = []  # no array before the numbers are there
    for number, line in enumerate(lines):
        values = line.split(maxsplit=num_channels)
        if len(values) < num_channels:
            raise BvhError(f"truncated motion: frame {number} has {len(values)} of {num_channels} values")
        if len(values) > num_channels:
            raise BvhError(f"bad motion: frame {number} has more values than the {num_channels} channels")
        try:
            rows.append(np.array([float(value) for value in values]))
        except ValueError:
            raise BvhError(f"bad number: in frame {number}") from None
    motion = np.array(rows)
    if not np.isfinite(motion).all():
        first = int(np.flatnonzero(~np.isfinite(motion).all(axis=1))[0])
        raise BvhError(f"NaN or infinity: first in frame {first}")
    return motion


def _to_number(text: str, kind: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise BvhError(f"{kind}: {text[:40]!r} is not a number") from None
    if not math.isfinite(number):
        raise BvhError(f"{kind}: {text!r} is not finite")
    return number
