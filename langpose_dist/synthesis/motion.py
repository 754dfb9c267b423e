"""What actions are made of: channels over time, key poses with smooth ways between them, rhythms and noise.

A channel is one number of a posture that a person would name: how far an elbow bends, where a foot stands.
Angles are degrees, lengths metres. Floor coordinates are relative to where the action begins: ``forward``,
``aside`` (to the left) and ``yaw`` (counter-clockwise from above). ``rig.py`` turns channels into joint
rotations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float64

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

SOLE = 0.025
"""Height of a flat foot's ball joint above the floor, metres."""

Times = Float64[np.ndarray, "T"]
Row = Float64[np.ndarray, "C"]
Rows = Float64[np.ndarray, "T C"]
Key = tuple[float, Mapping[str, float]]
"""Seconds since the key before, and the channels that differ from it."""


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


@dataclass(frozen=True)
class Person:
    """Who moves, and in what manner."""

    rest: Float64[np.ndarray, "52 3"]
    """Joints at rest, metres."""
    tempo: float
    """Factor on speeds, about 1."""
    vigour: float
    """Factor on amplitudes, about 1."""
    stance: float
    """Half the distance between the feet, metres."""
    toes_out: float
    """Degrees."""
    arms_out: float
    """How far the hanging arms are from the body, degrees."""
    elbows: float
    """Bend of the hanging arms, degrees."""

    @classmethod
    def draw(cls, rng: np.random.Generator, rest: Float64[np.ndarray, "52 3"]) -> "Person":
        """Someone with this skeleton."""
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

    @cached_property
    def ankle(self) -> float:
        """Height of the ankle above the floor while the foot is flat, metres."""
        return SOLE + float(self._at("left_ankle")[1] - self._at("left_foot")[1])

    @cached_property
    def hip_drop(self) -> float:
        """How far the hips are below the pelvis joint, metres."""
        return float(self._at("pelvis")[1] - self._at("left_hip")[1])

    @cached_property
    def standing(self) -> float:
        """Height of the pelvis joint in an easy stance, the knees not locked, metres."""
        return self.hip_drop + 0.988 * (self.thigh + self.shank) + self.ankle

    @cached_property
    def neutral(self) -> Row:
        """Standing at ease, the middle between the feet at 0."""
        row = np.zeros(len(CHANNELS))
        for side in SIDES:
            sign = side_sign(side)
            values = {
                "foot_aside": sign * self.stance,
                "foot_yaw": sign * self.toes_out,
                "up": self.arms_out,
                "out": 75.0,
                "elbow": self.elbows,
                "curl": 22.0,
            }
            for name, value in values.items():
                row[INDEX[f"{side}_{name}"]] = value
        return row

    def hip_to_height(self, hip: float) -> float:
        """The ``height`` channel that puts the hips ``hip`` metres above the floor."""
        return hip + self.hip_drop - self.standing

    def _at(self, joint: str) -> Float64[np.ndarray, "3"]:
        return self.rest[JOINTS.index(joint)]

    def _length(self, first: str, second: str) -> float:
        return float(np.linalg.norm(self._at(first) - self._at(second)))


Perform = Callable[[Person, np.random.Generator, Row], Take]
"""A person, what is left to chance, and the posture to begin from -> the action."""


def side_sign(side: Side) -> float:
    """1 for the left, -1 for the right: the sign of ``aside`` on that side."""
    return 1.0 if side == "left" else -1.0


def other(side: Side) -> Side:
    """The other side."""
    return "right" if side == "left" else "left"


def of(side: Side, **values: float) -> dict[str, float]:
    """Channels of one side by their short names."""
    return {f"{side}_{name}": value for name, value in values.items()}


def both(**values: float) -> dict[str, float]:
    """The same for both sides."""
    return of("left", **values) | of("right", **values)


def as_key(row: Row) -> dict[str, float]:
    """All channels of a posture, to return to it."""
    return {name: float(value) for name, value in zip(CHANNELS, row, strict=True)}


def keyed(start: Row, keys: Sequence[Key]) -> Take:
    """From a posture through key poses; a channel that a key leaves out stays as it was.

    Motion comes to rest at the first and last pose and where a channel turns round or stays, and passes
    through elsewhere.
    """
    times = np.cumsum([0.0, *(gap for gap, _ in keys)])
    rows = [start]
    for _, values in keys:
        row = rows[-1].copy()
        for name, value in values.items():
            row[INDEX[name]] = value
        rows.append(row)
    knots = np.stack(rows)
    return Take(float(times[-1]), lambda t: interpolate(t, times, knots))


def interpolate(
    t: Times, times: Float64[np.ndarray, "K"], values: Float64[np.ndarray, "K C"]
) -> Float64[np.ndarray, "T C"]:
    """Cubic pieces through values that never overshoot them, at rest at both ends.

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
    """0 to 1 as u goes from 0 to 1, with no speed and no acceleration at the ends."""
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
        deviation = np.array([scale.get(name, 0.0) for name in CHANNELS])
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
