"""Actions that go somewhere on foot."""

from dataclasses import replace
from functools import partial

import numpy as np

from langpose_dist.synthesis.gait import Gait, curve, pivot, seconds, straight, walk_along
from langpose_dist.synthesis.motion import INDEX, SIDES, Person, Row, Side, Take, Times, key, keyed, mirrored

# fmt: off
_BACKWARD = Gait(lift=0.07, toe_off=8.0, trail=20.0, strike=24.0, hips=2.5, pitch=4.0, reach=0.6)
_JOG = Gait(swing=1.15, lift=0.16, toe_off=50.0, trail=65.0, strike=-4.0, bounce=-0.028, sway=0.015,
            hips=6.0, height=-0.045, pitch=5.0, bend=5.0)
_RUN = Gait(swing=1.4, lift=0.30, toe_off=58.0, trail=85.0, strike=-6.0, bounce=-0.04, sway=0.012,
            hips=8.0, height=-0.06, pitch=10.0, bend=9.0, narrow=0.5)
_MARCH = Gait(swing=0.86, toe_off=25.0, trail=25.0, strike=5.0, bounce=0.012, sway=0.05,
              elbow=40.0, hips=3.0, pitch=0.0, narrow=0.9)
_TIPTOE = Gait(lift=0.09, toe_off=52.0, trail=40.0, strike=35.0, base_pitch=36.0, height=0.045,
               arms=8.0, elbow=50.0, sway=0.03)
_CROUCH = Gait(lift=0.1, toe_off=35.0, strike=-8.0, bounce=0.01, hips=7.0, pitch=18.0, bend=32.0,
               arms=14.0, elbow=70.0)
_SIDE_STEP = Gait(lift=0.07, toe_off=14.0, trail=14.0, strike=8.0, sway=0.03, hips=0.5, height=-0.045,
                  arms=2.0, elbow=30.0, narrow=1.3)
_TURN = Gait(lift=0.06, toe_off=18.0, trail=16.0, strike=4.0, sway=0.03, hips=1.0, arms=5.0, narrow=1.0)
# fmt: on


def _either(rng: np.random.Generator) -> Side:
    return SIDES[int(rng.integers(2))]


def walk(
    person: Person,
    rng: np.random.Generator,
    start: Row,
    *,
    way: str = "forward",
    radius: float | None = None,
) -> Take:
    """Walk forward, backward or in a circle, to the left if its radius is above 0."""
    step = rng.uniform(0.5, 0.6) / np.sqrt(person.tempo)
    speed = rng.uniform(0.95, 1.35) * np.sqrt(person.tempo) * person.size
    num_steps = int(rng.integers(5, 12))
    arms, bounce, bend = rng.uniform(18.0, 30.0), rng.uniform(0.014, 0.024), rng.uniform(0.0, 6.0)
    gait, path = Gait(step=step, arms=arms, bounce=bounce, bend=bend), straight(0.0)
    if way == "circle":
        num_steps += 5
        speed *= 0.8
        drawn = rng.uniform(0.9, 1.6) * (1 if rng.integers(2) else -1)
        path = curve(drawn if radius is None else radius)
    if way == "backward":
        speed *= 0.65
        gait, path = replace(_BACKWARD, step=step * 1.1, arms=rng.uniform(8.0, 14.0)), straight(180.0)
    return walk_along(person, start, gait, num_steps, path, speed * seconds(gait, num_steps), _either(rng))


def run(person: Person, rng: np.random.Generator, start: Row, *, jog: bool = False) -> Take:
    """Run or jog forward."""
    if jog:
        step, speed = rng.uniform(0.37, 0.42), rng.uniform(1.7, 2.2)
        gait = replace(_JOG, step=step, arms=rng.uniform(20.0, 28.0), elbow=rng.uniform(75.0, 95.0))
    else:
        step, speed = rng.uniform(0.33, 0.37), rng.uniform(2.6, 3.1)
        gait = replace(_RUN, step=step, arms=rng.uniform(36.0, 50.0), elbow=rng.uniform(85.0, 105.0))
    num_steps = int(rng.integers(7, 13))
    length = speed * np.sqrt(person.tempo) * person.size * seconds(gait, num_steps, ramp=3.5)
    return walk_along(person, start, gait, num_steps, straight(0.0), length, _either(rng), ramp=3.5)


def march(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """March on the spot, knees high."""
    step, lift = rng.uniform(0.5, 0.6) / person.tempo, rng.uniform(0.26, 0.36)
    gait = replace(_MARCH, step=step, lift=lift, arms=rng.uniform(35.0, 50.0))
    return walk_along(person, start, gait, int(rng.integers(6, 13)), straight(0.0), 0.0, _either(rng))


def sneak(person: Person, rng: np.random.Generator, start: Row, *, tiptoe: bool = False) -> Take:
    """Walk crouched, or on tiptoe."""
    num_steps = int(rng.integers(5, 10))
    if tiptoe:
        gait, speed = replace(_TIPTOE, step=rng.uniform(0.5, 0.6)), 0.72
    else:
        gait = replace(_CROUCH, step=rng.uniform(0.55, 0.7), height=-rng.uniform(0.24, 0.32))
        speed = 0.8
    length = speed * person.size * seconds(gait, num_steps)
    return walk_along(person, start, gait, num_steps, straight(0.0), length, _either(rng))


def side_step(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Step to the left several times, without crossing the feet."""
    num_steps = 2 * int(rng.integers(2, 5))
    gait = replace(_SIDE_STEP, step=rng.uniform(0.36, 0.46) / person.tempo)
    length = rng.uniform(0.35, 0.45) * seconds(gait, num_steps) * person.size
    return walk_along(person, start, gait, num_steps, straight(90.0), length)


def turn(person: Person, rng: np.random.Generator, start: Row, *, around: bool = False) -> Take:
    """Turn to the left on the spot; the head leads."""
    angle = rng.uniform(165.0, 185.0) if around else rng.uniform(70.0, 110.0)
    gait = replace(_TURN, step=rng.uniform(0.34, 0.44) / person.tempo)
    take = walk_along(person, start, gait, max(3, round(angle / 32)), pivot, angle)

    def heading(t: Times) -> Times:
        return take.evaluate(t)[:, INDEX["yaw"]]

    def look(t: Times) -> dict[str, Times]:
        ahead = heading(np.minimum(t + 0.35, take.duration)) - heading(t)
        return {"look": 0.9 * np.clip(ahead, -60, 60)}

    return take.plus(look)


def turn_around(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Turn to the opposite direction, to either side."""
    about = partial(turn, around=True)
    return (about if _either(rng) == "left" else mirrored(about))(person, rng, start)


def step_over(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Lift one foot after the other high over something low; either foot begins."""
    return (_step_over if _either(rng) == "left" else mirrored(_step_over))(person, rng, start)


def _step_over(person: Person, rng: np.random.Generator, start: Row) -> Take:
    height, length = rng.uniform(0.3, 0.42), rng.uniform(0.7, 0.85) * person.size
    time = rng.uniform(0.38, 0.48) / person.tempo
    return keyed(
        start,
        key(0.9 * time, aside=-0.085, height=-0.02, nod=25.0, left_foot_pitch=15.0),
        key(
            time,
            {"left_foot_lift": height, "left_foot_forward": 0.3, "left_foot_pitch": 12.0},
            {"elbow": 45.0, "swing": 8.0, "up": 25.0, "bend": 12.0, "forward": 0.08},
        ),
        key(
            0.8 * time,
            {"left_foot_lift": height * 0.6, "left_foot_forward": 0.95 * length, "left_foot_pitch": -8.0},
            {"forward": 0.3 * length, "height": -0.05},
        ),
        key(
            0.7 * time,
            {"left_foot_lift": 0.0, "left_foot_forward": length, "foot_pitch": (0.0, 25.0)},
            {"forward": 0.48 * length, "aside": -0.02, "height": -0.08, "bend": 8.0},
        ),
        key(
            0.8 * time,
            {"right_foot_lift": 0.05, "right_foot_forward": 0.12 * length, "right_foot_pitch": 62.0},
            {"forward": length * 0.85, "aside": 0.08, "height": -0.04},
        ),
        key(
            0.9 * time,
            {"right_foot_lift": height, "right_foot_forward": 0.7 * length, "right_foot_pitch": 50.0},
            {"forward": length, "height": -0.02},
        ),
        key(
            0.8 * time,
            {"right_foot_lift": height * 0.5, "right_foot_forward": 0.97 * length, "right_foot_pitch": 5.0},
        ),
        key(0.7 * time, right_foot_lift=0.0, right_foot_forward=length, right_foot_pitch=0.0),
        key(0.7 * time, start, foot_forward=length, forward=length),
    )
