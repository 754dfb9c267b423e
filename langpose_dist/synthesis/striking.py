"""Kicks, punches and throws with the left: wind up, strike, recover."""

import numpy as np

from langpose_dist.synthesis.motion import Person, Row, Take, key, keyed


def kick(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Swing the leg back and kick forward with it."""
    time, leg = 1 / person.tempo, person.leg
    height = rng.uniform(0.35, 0.7) * person.vigour
    reach = 0.98 * np.sqrt(max(0.1, leg**2 - (leg - height) ** 2))
    back = {"left_foot_lift": 0.3, "left_foot_forward": -0.38, "left_foot_pitch": 70.0}
    strike = {"left_foot_lift": height, "left_foot_forward": reach, "left_foot_pitch": -35.0}
    down = {"left_foot_lift": 0.14, "left_foot_forward": 0.02, "left_foot_pitch": 20.0}
    return keyed(
        start,
        key(
            0.4 * time, aside=-0.95 * person.stance, roll=2.0, height=-0.03, left_foot_pitch=15.0, elbow=40.0
        ),
        key(0.35 * time, back, bend=12.0, pitch=6.0, twist=12.0, height=-0.04, swing=(18.0, -15.0)),
        key(
            0.24 * time,
            strike,
            {"bend": 10.0, "pitch": -10.0, "twist": -14.0, "forward": 0.02, "yaw": 8.0},
            swing=(-32.0, 35.0),
            right_elbow=55.0,
        ),
        key(0.12 * time),
        key(0.38 * time, down, bend=3.0, pitch=0.0, twist=0.0, yaw=0.0, swing=0.0),
        key(0.4 * time, start),
    )


def punch(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Raise the fists and strike straight forward with one, once or several times."""
    time = 1 / person.tempo
    guard = {"up": 32.0, "out": 22.0, "turn": -12.0, "elbow": 128.0, "swing": 0.0, "curl": 78.0}
    guard |= {"bend": 10.0, "height": -0.05, "nod": 4.0}
    strike = {"left_up": 86.0, "left_out": -10.0, "left_swing": 0.0, "left_elbow": 4.0, "left_turn": -40.0}
    keys = [key(0.45 * time, guard)]
    for _ in range(int(rng.integers(1, 4))):
        keys += [
            key(0.2 * time, twist=18.0, left_up=20.0, left_out=40.0, left_swing=-15.0, left_elbow=132.0),
            key(0.15 * time, strike, twist=-30.0, yaw=-8.0, bend=14.0, forward=0.06),
            key(0.06 * time),
            key(0.25 * time, guard, twist=0.0, yaw=0.0, forward=0.0),
            key(rng.uniform(0.1, 0.3)),
        ]
    return keyed(start, *keys, key(0.5 * time, start))


def throw(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Throw overarm: step with the right foot, wind up, release, follow through."""
    time, stride = 1 / person.tempo, rng.uniform(0.26, 0.36)
    return keyed(
        start,
        key(
            0.45 * time,
            {"twist": 28.0, "yaw": 14.0, "aside": 0.06, "forward": -0.04, "height": -0.03, "lean": 6.0},
            look=-26.0,
            up=(85.0, 55.0),
            out=(112.0, 25.0),
            elbow=(98.0, 25.0),
            left_turn=70.0,
            left_curl=55.0,
            left_swing=0.0,
            right_foot_pitch=14.0,
        ),
        key(
            0.25 * time,
            {"right_foot_forward": 0.75 * stride, "right_foot_lift": 0.09, "right_foot_pitch": -10.0},
            {"twist": 34.0, "forward": 0.02, "left_turn": 82.0, "left_out": 118.0, "right_up": 72.0},
        ),
        key(
            0.16 * time,
            {"forward": 0.6 * stride, "aside": 0.0, "twist": 6.0, "yaw": 0.0, "bend": 6.0},
            {"right_foot_forward": stride, "right_foot_lift": 0.0, "foot_pitch": (16.0, 0.0)},
            {"up": (108.0, 45.0), "elbow": (88.0, 60.0), "left_out": 86.0, "left_turn": 74.0},
        ),
        key(
            0.12 * time,
            {"twist": -28.0, "yaw": -12.0, "bend": 18.0, "forward": 0.72 * stride, "look": 20.0, "lean": 0.0},
            {"left_up": 112.0, "left_out": 16.0, "left_elbow": 14.0, "left_turn": 20.0, "left_curl": 5.0},
            left_foot_pitch=34.0,
        ),
        key(
            0.26 * time,
            {"twist": -38.0, "bend": 28.0, "pitch": 8.0, "nod": -14.0, "up": (38.0, 15.0)},
            {"elbow": (20.0, 40.0), "left_out": -30.0, "left_turn": -10.0, "left_curl": 15.0},
            right_swing=-18.0,
        ),
        key(0.35 * time, twist=-10.0, bend=8.0, forward=0.5 * stride, left_up=20.0, left_foot_pitch=22.0),
        key(
            0.35 * time,
            {"twist": 0.0, "yaw": 0.0, "bend": 4.0, "pitch": 0.0, "look": 0.0, "nod": 0.0, "aside": 0.05},
            {"right_foot_forward": 0.45 * stride, "right_foot_lift": 0.06, "foot_pitch": (0.0, 6.0)},
            forward=0.05,
        ),
        key(0.4 * time, start),
    )
