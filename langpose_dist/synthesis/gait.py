"""Moving on foot: footsteps planned along a path, and the body that goes with them.

A foot on the floor stays where it is; it is set down where the body will be about the middle of the stance.
So straight lines, curves, steps aside or backwards and turns on the spot are all the same plan.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.motion import (
    INDEX,
    SIDES,
    Person,
    Row,
    Rows,
    Side,
    Take,
    Times,
    add,
    ease,
    envelope,
    interpolate,
    other,
    ramped,
    side_sign,
)

Path = Callable[[Times], Float64[np.ndarray, "T 3"]]
"""Distance walked in metres, or another parameter of the path -> forward, aside, yaw."""


@dataclass(frozen=True, kw_only=True)
class Gait:
    """A manner of stepping. Angles in degrees, lengths in metres, times in seconds."""

    step: float = 0.55
    """Time from one step to the next."""
    swing: float = 0.8
    """Time a foot is in the air, in steps: above 1 the body flies between steps."""
    lift: float = 0.06
    """Height of the foot in mid-swing."""
    toe_off: float = 45.0
    """Pitch of the foot as it leaves the floor."""
    trail: float = 30.0
    """Its pitch early in the swing."""
    strike: float = -18.0
    """Its pitch as it lands."""
    bounce: float = 0.02
    """Vertical movement of the body; below 0 it is lowest in mid-stance, as in running."""
    sway: float = 0.025
    """Shift of the body towards the foot on the floor."""
    arms: float = 22.0
    """Swing of the arms, to and fro."""
    elbow: float = 25.0
    """Bend of the elbows."""
    hips: float = 5.0
    """Turn of the pelvis with the leading leg."""
    height: float = -0.01
    """Height of the body, relative to standing."""
    pitch: float = 2.0
    """Lean of the pelvis in the direction of travel."""
    bend: float = 2.0
    """Bend of the trunk."""
    narrow: float = 0.75
    """Distance between the feet, relative to standing."""
    reach: float = 0.4
    """Moment at which the body passes over the foot, as a share of the stance: early, as the rising heel lets
    a foot stay far behind, and nothing lets it land far ahead."""
    base_pitch: float = 0.0
    """Pitch of the feet throughout: tiptoe."""


@dataclass(frozen=True)
class _Swing:
    side: Side
    start: float
    end: float
    target: Float64[np.ndarray, "3"]
    """Where the foot is set down: forward, aside, yaw."""


def walk_along(
    person: Person,
    start: Row,
    gait: Gait,
    num_steps: int,
    path: Path,
    length: float,
    first: Side = "left",
    ramp: float = 2.0,
) -> Take:
    """Step along a path, from standing to standing.

    Args:
        person: The walker.
        start: The standing posture.
        gait: Manner of stepping.
        num_steps: Footsteps; each foot makes at least one.
        path: 0 at its beginning.
        length: Parameter of the path at its end.
        first: The foot that begins.
        ramp: Steps until full speed, and from it to a halt.
    """
    lead, travel, ramp_time = _times(gait, num_steps, ramp)
    duration = travel + 0.45  # the body arrives with the last foot

    def progress(t: Times) -> Times:
        return length * ramped(t, travel, ramp_time) / (travel - ramp_time)

    swings = _plan(person, gait, num_steps, path, progress, lead, first, length)

    def evaluate(t: Times) -> Rows:
        rows = np.tile(start, (len(t), 1))  # the feet stand until their first step
        going = envelope(t, 0.0, duration, min(1.3 * gait.step, duration / 3))
        place = path(progress(t))
        phase = np.pi * (t - (lead + gait.swing * gait.step / 2)) / gait.step
        add(rows, dict(zip(("forward", "aside", "yaw"), place.T, strict=True)))
        for side in SIDES:
            _move_foot(rows, t, side, gait, going, [swing for swing in swings if swing.side == side])
        add(rows, _body_motion(gait, going, place[:, 2], phase, first, person))
        return rows

    return Take(duration, evaluate)


def _plan(
    person: Person,
    gait: Gait,
    num_steps: int,
    path: Path,
    progress: Callable[[Times], Times],
    lead: float,
    first: Side,
    length: float,
) -> list[_Swing]:
    """Footsteps: each foot is set down where the body will be, the last two at the end of the path."""
    swings = []
    for number in range(num_steps):
        side = first if number % 2 == 0 else other(first)
        start = lead + number * gait.step
        end = start + gait.swing * gait.step
        if number + 2 < num_steps:
            leave = start + 2 * gait.step
            where = progress(np.array([end + gait.reach * (leave - end)]))
            width = gait.narrow * person.stance
        else:
            where, width = np.array([length]), person.stance
        (place,) = path(where)
        swings.append(_Swing(side, start, end, _beside(place, side_sign(side), width, person.toes_out)))
    return swings


def _beside(
    place: Float64[np.ndarray, "3"], sign: float, width: float, toes_out: float
) -> Float64[np.ndarray, "3"]:
    """Place of a foot, forward, aside and yaw, by that of the body."""
    forward, aside, yaw = place
    angle = np.radians(yaw)
    return np.array(
        [
            forward - sign * width * np.sin(angle),
            aside + sign * width * np.cos(angle),
            yaw + sign * toes_out,
        ]
    )


def seconds(gait: Gait, num_steps: int, ramp: float = 2.0) -> float:
    """Duration of so many steps at full speed: the length of the path over this is the speed."""
    _, travel, ramp_time = _times(gait, num_steps, ramp)
    return travel - ramp_time


def _times(gait: Gait, num_steps: int, ramp: float) -> tuple[float, float, float]:
    """Seconds before the first step, until the last foot lands, and until full speed."""
    lead = 0.25 * gait.step
    travel = lead + (num_steps - 1 + gait.swing) * gait.step
    return lead, travel, min(ramp * gait.step, travel / 2)


def straight(direction: float) -> Path:
    """Straight line; degrees from straight ahead, to the left."""
    angle = np.radians(direction)
    return lambda s: np.stack([s * np.cos(angle), s * np.sin(angle), np.zeros_like(s)], axis=-1)


def curve(radius: float) -> Path:
    """Circle walked forwards, to the left if the radius is above 0."""

    def path(s: Times) -> Float64[np.ndarray, "T 3"]:
        angle = s / radius
        return np.stack([radius * np.sin(angle), radius * (1 - np.cos(angle)), np.degrees(angle)], axis=-1)

    return path


def pivot(s: Times) -> Float64[np.ndarray, "T 3"]:
    """Turn on the spot; the parameter is the turn to the left in degrees."""
    return np.stack([np.zeros_like(s), np.zeros_like(s), s], axis=-1)


def _move_foot(rows: Rows, t: Times, side: Side, gait: Gait, going: Times, swings: list[_Swing]) -> None:
    """Swing a foot from one footprint to the next, rolling over its ball and its heel."""
    columns = [INDEX[f"{side}_{name}"] for name in ("foot_forward", "foot_aside", "foot_yaw")]
    lift = np.zeros(len(t))
    before = rows[0, columns]
    # The pitch between steps: flat, rising onto the ball, pointing, toes up, flat.
    knots: list[tuple[float, float]] = [(-1.0, 0.0)]
    for swing in swings:
        u = np.clip((t - swing.start) / (swing.end - swing.start), 0.0, 1.0)
        moved = 0.5 * (u * u * (3 - 2 * u) + ease(u))  # in between: neither jerky nor too fast in the middle
        rows[:, columns] += moved[:, None] * (swing.target - before)
        lift += gait.lift * np.maximum(np.sin(np.pi * u**0.85), 0.0) ** 1.5
        # The first and the last step are small: the foot rolls less.
        reach = float(np.hypot(*(swing.target - before)[:2]))
        roll = float(ease(np.array([(reach + gait.lift) / 0.55]))[0])
        before = swing.target
        span = swing.end - swing.start
        rise = max(swing.start - 0.5 * gait.step, knots[-1][0] + 1e-3)
        knots += [
            (rise, 0.0),
            (swing.start + 0.02, roll * gait.toe_off),
            (swing.start + 0.3 * span, roll * gait.trail),
            (swing.start + 0.8 * span, roll * gait.strike),
            (swing.end, roll * gait.strike),
            (swing.end + 0.22 * gait.step, 0.0),
        ]
    knots.append((knots[-1][0] + 1.0, 0.0))
    times, values = np.array(knots).T
    pitch = interpolate(t, times, values[:, None])[:, 0]
    pitch = np.maximum(pitch, gait.base_pitch * going) if gait.base_pitch else pitch
    add(rows, {f"{side}_foot_lift": lift, f"{side}_foot_pitch": pitch})


def _body_motion(
    gait: Gait, going: Times, heading: Times, phase: Times, first: Side, person: Person
) -> dict[str, Times]:
    """Channels of pelvis, trunk, head and arms; phase 0 is the middle of a swing of the first foot, pi of
    the other."""
    sign = side_sign(first)
    stance, ahead = going * np.cos(phase), going * np.sin(phase)  # first foot: in the air; leading
    angle = np.radians(heading)
    aside = -sign * gait.sway * stance
    motion = {
        "forward": -aside * np.sin(angle),
        "aside": aside * np.cos(angle),
        "height": going * (gait.height + gait.bounce * np.cos(2 * phase)),
        "yaw": -sign * gait.hips * ahead,
        "roll": sign * 0.6 * gait.hips * stance,
        "lean": -sign * 0.6 * gait.hips * stance,
        "twist": sign * 2.2 * gait.hips * ahead,
        "look": -sign * 1.2 * gait.hips * ahead,
        "pitch": going * gait.pitch,
        "bend": going * gait.bend,
        "nod": -0.5 * going * (gait.pitch + gait.bend),
    }
    for side in SIDES:
        forth = -ahead if side == first else ahead  # against the leg of its side
        swing = person.vigour * gait.arms * forth
        motion[f"{side}_swing"] = swing + 0.1 * gait.arms * going
        motion[f"{side}_elbow"] = going * (gait.elbow - person.elbows) + 0.35 * swing
    return motion
