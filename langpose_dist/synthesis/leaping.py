"""Actions that leave the floor: the body flies as gravity has it, and the legs push off and give way."""

import numpy as np

from langpose_dist.synthesis.motion import (
    INDEX,
    SIDES,
    Person,
    Row,
    Rows,
    Side,
    Take,
    Times,
    as_key,
    both,
    ease,
    keyed,
    of,
    other,
    side_sign,
)

_GRAVITY = 9.81


def jump(person: Person, rng: np.random.Generator, start: Row, *, forward: bool = False) -> Take:
    """Jump with both feet, on the spot or forward: bend, swing the arms, fly, land softly."""
    rise = rng.uniform(0.18, 0.34) * person.vigour
    distance = rng.uniform(0.45, 0.9) if forward else 0.0
    depth, landing, top = -rng.uniform(0.26, 0.36), -rng.uniform(0.2, 0.3), 0.06
    speed = np.sqrt(2 * _GRAVITY * rise)
    flight = 2 * speed / _GRAVITY
    extension, absorption = 2 * (top - depth) / speed, 2 * (top - landing) / speed
    crouch, recovery = rng.uniform(0.42, 0.6), rng.uniform(0.5, 0.7)
    velocity = distance / flight
    up, down = 0.5 * velocity * extension, 0.4 * velocity * absorption
    total = up + distance + down
    arms = rng.uniform(110.0, 160.0)
    keys = [
        (
            crouch,
            {"pitch": 18.0, "bend": 26.0, "nod": -18.0} | both(swing=-48.0, elbow=18.0, foot_pitch=0.0),
        ),
        (0.55 * extension, {"pitch": 14.0, "bend": 14.0} | both(swing=-5.0, foot_pitch=6.0)),
        (
            0.45 * extension,
            {"pitch": 4.0, "bend": 0.0, "nod": -5.0} | both(swing=0.55 * arms, elbow=25.0, foot_pitch=48.0),
        ),
        (0.5 * flight, {"bend": 2.0} | both(swing=arms, foot_pitch=32.0)),
        (0.5 * flight, {"pitch": 6.0, "bend": 10.0} | both(swing=0.75 * arms, foot_pitch=26.0)),
        (0.35 * absorption, {"bend": 16.0} | both(foot_pitch=0.0, swing=0.5 * arms)),
        (0.65 * absorption, {"pitch": 16.0, "bend": 24.0, "nod": -12.0} | both(swing=15.0, elbow=40.0)),
        (recovery, as_key(start)),
    ]
    base = keyed(start, keys)
    takeoff = crouch + extension
    touch = takeoff + flight
    bottom = touch + absorption

    def evaluate(t: Times) -> Rows:
        rows = base.evaluate(t)
        height = depth * ease(t / crouch)
        height += (top - depth) * np.clip((t - crouch) / extension, 0, 1) ** 2
        airborne = np.clip(t - takeoff, 0, flight)
        arc = airborne * (speed - 0.5 * _GRAVITY * airborne)
        height += (landing - top) * (1 - (1 - np.clip((t - touch) / absorption, 0, 1)) ** 2)
        height -= landing * ease((t - bottom) / recovery)
        rows[:, INDEX["height"]] += height + arc
        rows[:, INDEX["forward"]] += (
            up * np.clip((t - crouch) / extension, 0, 1) ** 2
            + velocity * airborne
            + down * (1 - (1 - np.clip((t - touch) / absorption, 0, 1)) ** 2)
        )
        for side in SIDES:
            tuck = 0.05 * np.sin(np.pi * airborne / flight) ** 2
            rows[:, INDEX[f"{side}_foot_lift"]] += arc + tuck
            rows[:, INDEX[f"{side}_foot_forward"]] += total * ease(airborne / flight)
        return rows

    return Take(base.duration, evaluate)


def hop(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Hop several times on one foot, a little forward each time."""
    num_hops = int(rng.integers(3, 7))
    rise, top, depth = rng.uniform(0.06, 0.11), 0.045, -rng.uniform(0.09, 0.14)
    speed = np.sqrt(2 * _GRAVITY * rise)
    flight, push = 2 * speed / _GRAVITY, 2 * (top - depth) / speed
    cycle, lead, tail = flight + 2 * push, 0.75, 0.8
    advance = rng.uniform(0.1, 0.3)
    free, sign = other(side), side_sign(side)
    lifted = of(free, foot_lift=0.34, foot_pitch=50.0, foot_forward=-0.2)
    shift = {"aside": sign * 0.85 * person.stance, "bend": 8.0, "pitch": 4.0, "roll": -sign * 3.0}
    arms = both(elbow=70.0, up=30.0, out=60.0)
    base = keyed(
        start,
        [
            (0.45 * lead, {"aside": sign * 0.7 * person.stance} | of(free, foot_pitch=20.0)),
            (0.55 * lead, lifted | shift | arms),
            (num_hops * cycle, lifted),
            (
                0.6 * tail,
                {"aside": sign * 0.5 * person.stance, "bend": 2.0}
                | of(free, foot_lift=0.04, foot_pitch=10.0, foot_forward=0.0),
            ),
            (0.4 * tail, as_key(start)),
        ],
    )

    def evaluate(t: Times) -> Rows:
        rows = base.evaluate(t)
        number = np.clip(np.floor((t - lead) / cycle), 0, num_hops - 1)
        phase = np.clip(t - lead - number * cycle, 0, cycle)
        airborne = np.clip(phase - push, 0, flight)
        arc = airborne * (speed - 0.5 * _GRAVITY * airborne)
        pushed = np.clip(phase / push, 0, 1) ** 2
        landed = 1 - (1 - np.clip((phase - push - flight) / push, 0, 1)) ** 2
        hopping = ease(t / lead) * ease((lead + num_hops * cycle + tail - t) / tail)
        rows[:, INDEX["height"]] += depth * hopping + (top - depth) * (pushed - landed) + arc
        body = number + np.clip((phase - 0.3 * push) / (flight + 1.4 * push), 0, 1)
        foot = number + ease(airborne / flight)
        rows[:, INDEX["forward"]] += advance * body
        rows[:, INDEX[f"{side}_foot_forward"]] += advance * foot
        rows[:, INDEX[f"{free}_foot_forward"]] += advance * body
        rows[:, INDEX[f"{side}_foot_lift"]] += arc
        rows[:, INDEX[f"{free}_foot_lift"]] += arc
        rows[:, INDEX[f"{side}_foot_pitch"]] += 42 * np.clip(1.6 * pushed - 0.6, 0, 1) * (1 - landed)
        for arm in SIDES:
            rows[:, INDEX[f"{arm}_swing"]] += 25 * (pushed - landed)
        return rows

    return Take(base.duration, evaluate)


def jumping_jacks(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Feet apart and arms up, feet together and arms down, with a small jump each."""
    num_jumps = 2 * int(rng.integers(3, 7))
    rise, top, depth = rng.uniform(0.05, 0.08), 0.04, -0.07
    speed = np.sqrt(2 * _GRAVITY * rise)
    flight, push = 2 * speed / _GRAVITY, 2 * (top - depth) / speed
    cycle, lead, tail = flight + 2 * push, 0.35, 0.4
    spread, reach = rng.uniform(0.2, 0.28), rng.uniform(150.0, 168.0)

    def evaluate(t: Times) -> Rows:
        rows = np.tile(start, (len(t), 1))
        number = np.clip(np.floor((t - lead) / cycle), 0, num_jumps - 1)
        phase = np.clip(t - lead - number * cycle, 0, cycle)
        airborne = np.clip(phase - push, 0, flight)
        arc = airborne * (speed - 0.5 * _GRAVITY * airborne)
        pushed = np.clip(phase / push, 0, 1) ** 2
        landed = 1 - (1 - np.clip((phase - push - flight) / push, 0, 1)) ** 2
        jumping = ease(t / lead) * ease((lead + num_jumps * cycle + tail - t) / tail)
        rows[:, INDEX["height"]] += depth * jumping + (top - depth) * (pushed - landed) + arc
        even = number % 2 == 0
        moved = ease(airborne / flight)
        apart = np.where(even, moved, 1 - moved)
        opened = ease(phase / cycle)
        opened = np.where(even, opened, 1 - opened)
        for side in SIDES:
            rows[:, INDEX[f"{side}_foot_aside"]] += side_sign(side) * spread * apart
            rows[:, INDEX[f"{side}_foot_lift"]] += arc
            rows[:, INDEX[f"{side}_foot_pitch"]] += 40 * np.clip(1.6 * pushed - 0.6, 0, 1) * (1 - landed)
            rows[:, INDEX[f"{side}_up"]] += (reach - person.arms_out) * opened
            rows[:, INDEX[f"{side}_out"]] += (
                12 * ease(t / lead) * ease((lead + num_jumps * cycle + tail - t) / tail)
            )
        return rows

    return Take(lead + num_jumps * cycle + tail, evaluate)
