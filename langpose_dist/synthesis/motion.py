"""Building blocks of actions: channels over time, smooth ways between key poses, rhythms and noise.

A channel is one number of a posture that a person would name: the bend of an elbow, the place of a foot.
Angles are degrees, lengths metres. Floor coordinates are relative to where the action begins: ``forward``,
``aside`` (to the left) and ``yaw`` (counter-clockwise from above). ``rig.py`` turns channels into joint
rotations. Actions that have a side are written for the left; ``mirrored`` makes the right ones from them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64

from langpose_dist.skeleton import swap_sides
from langpose_dist.synthesis.figure import JOINTS

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")

BODY_CHANNELS = (
    *("forward", "aside", "height", "yaw", "pitch", "roll"),  # pelvis; height is relative to standing
    *("bend", "lean", "twist"),  # trunk: forwards, to the left, to the left
    *("nod", "tilt", "look"),  # head: down, to the left, to the left
)
SIDE_CHANNELS = (
    *("foot_forward", "foot_aside", "foot_yaw"),  # where the ankle is above the floor while the foot is flat
    *("foot_lift", "foot_pitch", "knee_out"),  # pitch: the heel rises, or below 0 the toes
    *("up", "out", "swing", "turn"),  # upper arm: angle from hanging, 0 forwards to 90 outwards, ...
    *("elbow", "pronate", "wrist", "curl", "shrug"),
)
CHANNELS = (*BODY_CHANNELS, *(f"{side}_{name}" for side in SIDES for name in SIDE_CHANNELS))
"""Names of all channels, in order."""

INDEX = {name: index for index, name in enumerate(CHANNELS)}
"""Channel -> column."""

COLUMNS = {
    **{name: slice(index, index + 1) for name, index in INDEX.items()},
    **{name: slice(INDEX[f"left_{name}"], None, len(SIDE_CHANNELS)) for name in SIDE_CHANNELS},
}
"""Channel -> its column; side channel named without a side -> the columns of both sides."""

_LATERAL = ("aside", "yaw", "roll", "lean", "twist", "tilt", "look", "foot_aside", "foot_yaw")
_SWAPPED = [INDEX[swap_sides(name)] for name in CHANNELS]
_SIGNS = np.array(
    [-1.0 if name.removeprefix("left_").removeprefix("right_") in _LATERAL else 1.0 for name in CHANNELS]
)

SOLE_HEIGHT_M = 0.025
"""Height of a flat foot's ball joint above the floor, metres."""

Times = Float64[np.ndarray, "T"]
Row = Float64[np.ndarray, "C"]
Rows = Float64[np.ndarray, "T C"]
Value = float | tuple[float, float]
"""Value of a channel; for both sides either one number or the left and the right one."""
Channels = Mapping[str, Value]
"""Values by name, as in ``COLUMNS``."""
Key = tuple[float, tuple[Row | Channels, ...]]
"""Seconds since the key before, and the changes since then."""


@dataclass(frozen=True)
class Take:
    """One performance of an action."""

    duration: float
    """Seconds."""
    evaluate: Callable[[Times], Rows]
    """Channels at seconds since the beginning."""

    @property
    def end(self) -> Row:
        """The last posture."""
        return self.evaluate(np.array([self.duration]))[0]

    def plus(self, motion: Callable[[Times], Mapping[str, Times]]) -> "Take":
        """The same performance with motion added to some channels."""

        def evaluate(t: Times) -> Rows:
            rows = self.evaluate(t)
            add(rows, motion(t))
            return rows

        return Take(self.duration, evaluate)


@dataclass(frozen=True)
class Person:
    """Build and manner of a performer."""

    rest: Float64[np.ndarray, "52 3"]
    """Joints at rest, metres."""
    tempo: float
    """Factor on speeds, about 1."""
    vigour: float
    """Factor on amplitudes, about 1."""
    stance: float
    """Half the distance between the feet, metres."""
    toes_out: float
    """Angle of the feet, degrees."""
    arms_out: float
    """Angle of the hanging arms from the body, degrees."""
    elbows: float
    """Bend of the hanging arms, degrees."""

    @classmethod
    def draw(cls, rng: np.random.Generator, rest: Float64[np.ndarray, "52 3"]) -> "Person":
        """Draw someone with this skeleton."""
        return cls(
            rest=rest,
            tempo=rng.uniform(0.85, 1.2),
            vigour=rng.uniform(0.85, 1.15),
            stance=rng.uniform(0.085, 0.12),
            toes_out=rng.uniform(4.0, 14.0),
            arms_out=rng.uniform(5.0, 13.0),
            elbows=rng.uniform(8.0, 22.0),
        )

    @cached_property
    def thigh(self) -> float:
        """Length in metres."""
        return self._length("left_hip", "left_knee")

    @cached_property
    def shank(self) -> float:
        """Length in metres."""
        return self._length("left_knee", "left_ankle")

    @property
    def leg(self) -> float:
        """Length in metres."""
        return self.thigh + self.shank

    @property
    def size(self) -> float:
        """Length of the legs, relative to the unshaped figure's."""
        return self.leg / 0.8

    @cached_property
    def ankle(self) -> float:
        """Height of the ankle above the floor while the foot is flat, metres."""
        return SOLE_HEIGHT_M + float(self._at("left_ankle")[1] - self._at("left_foot")[1])

    @cached_property
    def hip_drop(self) -> float:
        """Height of the pelvis joint above the hips, metres."""
        return float(self._at("pelvis")[1] - self._at("left_hip")[1])

    @cached_property
    def standing(self) -> float:
        """Height of the pelvis joint in an easy stance, the knees not locked, metres."""
        return self.hip_drop + 0.988 * self.leg + self.ankle

    @cached_property
    def neutral(self) -> Row:
        """Standing at ease, the middle between the feet at 0."""
        row = np.zeros(len(CHANNELS))
        row[COLUMNS["foot_aside"]] = self.stance, -self.stance
        row[COLUMNS["foot_yaw"]] = self.toes_out, -self.toes_out
        row[COLUMNS["up"]] = self.arms_out
        row[COLUMNS["out"]] = 75.0
        row[COLUMNS["elbow"]] = self.elbows
        row[COLUMNS["curl"]] = 22.0
        return row

    def hip_to_height(self, hip: float) -> float:
        """The ``height`` channel that puts the hips ``hip`` metres above the floor."""
        return hip + self.hip_drop - self.standing

    def _at(self, joint: str) -> Float64[np.ndarray, "3"]:
        return self.rest[JOINTS.index(joint)]

    def _length(self, first: str, second: str) -> float:
        return float(np.linalg.norm(self._at(first) - self._at(second)))


Perform = Callable[[Person, np.random.Generator, Row], Take]
"""Person, random generator and the posture to begin from -> one performance."""


def side_sign(side: Side) -> float:
    """Sign of ``aside`` on a side: 1 for the left, -1 for the right."""
    return 1.0 if side == "left" else -1.0


def other(side: Side) -> Side:
    """The other side."""
    return "right" if side == "left" else "left"


def mirrored(perform: Perform) -> Perform:
    """The same action with left and right exchanged."""

    def perform_mirrored(person: Person, rng: np.random.Generator, start: Row) -> Take:
        take = perform(person, rng, _mirror(start))
        return Take(take.duration, lambda t: _mirror(take.evaluate(t)))

    return perform_mirrored


def _mirror(rows: Float64[np.ndarray, "*T C"]) -> Float64[np.ndarray, "*T C"]:
    return rows[..., _SWAPPED] * _SIGNS


def add(rows: Rows, motion: Mapping[str, Times]) -> None:
    """Add to channels, named as in ``COLUMNS``, in place."""
    for name, values in motion.items():
        rows[:, COLUMNS[name]] += values[:, None]


def key(seconds: float, *parts: Row | Channels, **channels: Value) -> Key:
    """One key pose of ``keyed``: seconds since the key before; a posture, parts of one, single channels.

    Later parts override earlier ones, and ``channels`` all; those left out stay as they were.
    """
    return seconds, (*parts, channels)


def keyed(start: Row, *keys: Key) -> Take:
    """Move from a posture through key poses.

    Motion comes to rest at the first and last pose and where a channel turns round or stays, and passes
    through the others.
    """
    times = np.cumsum([0.0, *(seconds for seconds, _ in keys)])
    rows = [start]
    for _, parts in keys:
        row = rows[-1].copy()
        for part in parts:
            if isinstance(part, np.ndarray):
                row[:] = part
            else:
                for name, value in part.items():
                    row[COLUMNS[name]] = value
        rows.append(row)
    knots = np.stack(rows)
    return Take(float(times[-1]), lambda t: interpolate(t, times, knots))


def still(start: Row, duration: float) -> Take:
    """Hold a posture."""
    return Take(duration, lambda t: np.tile(start, (len(t), 1)))


def interpolate(
    t: Times, times: Float64[np.ndarray, "K"], values: Float64[np.ndarray, "K C"]
) -> Float64[np.ndarray, "T C"]:
    """Interpolate by cubic pieces that never overshoot the values and are at rest at both ends.

    Source:
        Fritsch and Carlson, SIAM Journal on Numerical Analysis 1980; slopes as weighted harmonic means.
    """
    gaps = np.diff(times)[:, None]
    secants = np.diff(values, axis=0) / gaps
    slopes = np.zeros_like(values)
    before, after = secants[:-1], secants[1:]
    weight_before, weight_after = 2 * gaps[1:] + gaps[:-1], gaps[1:] + 2 * gaps[:-1]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weight_before + weight_after) / (weight_before / before + weight_after / after)
    slopes[1:-1] = np.where(same, mean, 0.0)
    piece = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(gaps) - 1)
    gap = gaps[piece]
    u = np.clip((t[:, None] - times[piece, None]) / gap, 0.0, 1.0)
    rest, u2, u3 = 1 - u, u * u, u * u * u
    return (
        values[piece] * (1 + 2 * u) * rest * rest
        + gap * slopes[piece] * u * rest * rest
        + values[piece + 1] * (3 * u2 - 2 * u3)
        + gap * slopes[piece + 1] * (u3 - u2)
    )


def ease(u: Float64[np.ndarray, "*S"]) -> Float64[np.ndarray, "*S"]:
    """Ease from 0 to 1 as u goes from 0 to 1, with no speed and no acceleration at the ends."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * u * (10 + u * (6 * u - 15))


def envelope(t: Times, start: float, end: float, ramp: float) -> Times:
    """1 between two times, eased from and to 0 within ``ramp`` seconds inside them."""
    return ease((t - start) / ramp) * ease((end - t) / ramp)


def ramped(t: Times, duration: float, ramp: float) -> Times:
    """Distance at a speed that is eased from 0 to 1 and back to 0 within ``ramp`` seconds; it ends at
    ``duration - ramp``."""

    def area(u: Times) -> Times:  # under the curve of ``ease``
        u = np.clip(u, 0.0, 1.0)
        return ramp * (u**6 - 3 * u**5 + 2.5 * u**4)

    t = np.clip(t, 0.0, duration)
    return area(t / ramp) + np.maximum(t - ramp, 0.0) - area((t - duration + ramp) / ramp)


@dataclass(frozen=True)
class Noise:
    """Slow irregular movement of every channel, a function of time alone: any frame rate samples the same."""

    amplitudes: Float64[np.ndarray, "W C"]
    frequencies: Float64[np.ndarray, "W C"]
    phases: Float64[np.ndarray, "W C"]

    @classmethod
    def draw(cls, rng: np.random.Generator, scale: Mapping[str, float], num_waves: int = 4) -> "Noise":
        """Noise of a standard deviation per channel; channels that ``scale`` leaves out have none."""
        shape = (num_waves, len(CHANNELS))
        deviation = np.zeros(len(CHANNELS))
        for name, value in scale.items():
            deviation[COLUMNS[name]] = value
        return cls(
            amplitudes=rng.uniform(0.5, 1.5, shape) * deviation * np.sqrt(2 / num_waves),
            frequencies=rng.uniform(0.08, 0.9, shape),
            phases=rng.uniform(0.0, 2 * np.pi, shape),
        )

    def evaluate(self, t: Times) -> Rows:
        """The noise at some times."""
        rows = np.zeros((len(t), len(CHANNELS)))
        for channel in np.flatnonzero(self.amplitudes.any(axis=0)):
            angles = 2 * np.pi * t[:, None] * self.frequencies[:, channel] + self.phases[:, channel]
            rows[:, channel] = np.sin(angles) @ self.amplitudes[:, channel]
        return rows
