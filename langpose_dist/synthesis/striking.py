"""Kicks, punches and throws: wind up, strike, recover."""

import numpy as np

from langpose_dist.synthesis.motion import (
    Person,
    Row,
    Side,
    Take,
    as_key,
    both,
    keyed,
    of,
    other,
    side_sign,
)


def kick(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Swing one leg back and kick forward with it."""
    sign, time = side_sign(side), 1 / person.tempo
    height = rng.uniform(0.35, 0.7) * person.vigour
    shift = {"aside": -sign * 0.95 * person.stance, "roll": sign * 2.0}
    reach = 0.98 * np.sqrt(
        max(0.1, (person.thigh + person.shank) ** 2 - (person.thigh + person.shank - height) ** 2)
    )
    keys = [
        (0.4 * time, shift | {"height": -0.03} | of(side, foot_pitch=15.0) | both(elbow=40.0)),
        (
            0.35 * time,
            {"bend": 12.0, "pitch": 6.0, "twist": sign * 12.0, "height": -0.04}
            | of(side, foot_lift=0.3, foot_forward=-0.38, foot_pitch=70.0, swing=18.0)
            | of(other(side), swing=-15.0),
        ),
        (
            0.24 * time,
            {"bend": 10.0, "pitch": -10.0, "twist": -sign * 14.0, "forward": 0.02, "yaw": sign * 8.0}
            | of(side, foot_lift=height, foot_forward=reach, foot_pitch=-35.0, swing=-32.0)
            | of(other(side), swing=35.0, elbow=55.0),
        ),
        (0.12 * time, {}),
        (
            0.38 * time,
            {"bend": 3.0, "pitch": 0.0, "twist": 0.0, "yaw": 0.0}
            | of(side, foot_lift=0.14, foot_forward=0.02, foot_pitch=20.0, swing=0.0)
            | of(other(side), swing=0.0),
        ),
        (0.4 * time, as_key(start)),
    ]
    return keyed(start, keys)


def punch(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Raise the fists and strike straight forward with one."""
    sign, time = side_sign(side), 1 / person.tempo
    guard = both(up=32.0, out=22.0, turn=-12.0, elbow=128.0, swing=0.0, curl=78.0) | {
        "bend": 10.0,
        "height": -0.05,
        "nod": 4.0,
    }
    back = {"twist": sign * 18.0} | of(side, up=20.0, out=40.0, swing=-15.0, elbow=132.0)
    strike = {"twist": -sign * 30.0, "yaw": -sign * 8.0, "bend": 14.0, "forward": 0.06}
    strike |= of(side, up=86.0, out=-10.0, swing=0.0, elbow=4.0, turn=-40.0)
    keys: list[tuple[float, dict[str, float]]] = [(0.45 * time, guard)]
    for _ in range(int(rng.integers(1, 4))):
        keys += [
            (0.2 * time, back),
            (0.15 * time, strike),
            (0.06 * time, strike),
            (0.25 * time, guard | {"twist": 0.0, "yaw": 0.0, "forward": 0.0}),
            (rng.uniform(0.1, 0.3), {}),
        ]
    keys.append((0.5 * time, as_key(start)))
    return keyed(start, keys)


def throw(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Throw overarm: step with the other foot, wind up, release, follow through."""
    sign, time, front = side_sign(side), 1 / person.tempo, other(side)
    stride = rng.uniform(0.26, 0.36)
    keys = [
        (
            0.45 * time,
            {
                "twist": sign * 28.0,
                "yaw": sign * 14.0,
                "aside": sign * 0.06,
                "forward": -0.04,
                "height": -0.03,
                "lean": sign * 6.0,
                "look": -sign * 26.0,
            }
            | of(side, up=85.0, out=112.0, turn=70.0, elbow=98.0, curl=55.0, swing=0.0)
            | of(front, up=55.0, out=25.0, elbow=25.0, foot_pitch=14.0),
        ),
        (
            0.25 * time,
            {"twist": sign * 34.0, "forward": 0.02}
            | of(front, foot_forward=0.75 * stride, foot_lift=0.09, foot_pitch=-10.0, up=72.0)
            | of(side, turn=82.0, out=118.0),
        ),
        (
            0.16 * time,
            {"forward": 0.6 * stride, "aside": 0.0, "twist": 6.0 * sign, "yaw": 0.0, "bend": 6.0}
            | of(front, foot_forward=stride, foot_lift=0.0, foot_pitch=0.0, up=45.0, elbow=60.0)
            | of(side, up=108.0, out=86.0, elbow=88.0, turn=74.0, foot_pitch=16.0),
        ),
        (
            0.12 * time,
            {
                "twist": -sign * 28.0,
                "yaw": -sign * 12.0,
                "bend": 18.0,
                "forward": 0.72 * stride,
                "look": sign * 20.0,
                "lean": 0.0,
            }
            | of(side, up=112.0, out=16.0, elbow=14.0, turn=20.0, curl=5.0, foot_pitch=34.0),
        ),
        (
            0.26 * time,
            {"twist": -sign * 38.0, "bend": 28.0, "pitch": 8.0, "nod": -14.0}
            | of(side, up=38.0, out=-30.0, elbow=20.0, turn=-10.0, curl=15.0)
            | of(front, up=15.0, elbow=40.0, swing=-18.0),
        ),
        (
            0.35 * time,
            {"twist": -sign * 10.0, "bend": 8.0, "forward": 0.5 * stride}
            | of(side, up=20.0, foot_pitch=22.0),
        ),
        (
            0.35 * time,
            {
                "twist": 0.0,
                "yaw": 0.0,
                "bend": 4.0,
                "pitch": 0.0,
                "look": 0.0,
                "nod": 0.0,
                "aside": sign * 0.05,
                "forward": 0.05,
            }
            | of(front, foot_forward=0.45 * stride, foot_lift=0.06, foot_pitch=6.0)
            | of(side, foot_pitch=0.0),
        ),
        (0.4 * time, as_key(start)),
    ]
    return keyed(start, keys)
