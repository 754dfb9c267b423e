"""Actions that leave the floor: the legs push off, the body flies as gravity has it, the legs give way."""

import numpy as np

from langpose_dist.synthesis.motion import Person, Row, Take, Times, ease, key, keyed, still

_GRAVITY = 9.81  # m/s^2


def _speed(rise: float) -> float:
    """Take-off speed for a rise of the body, metres per second."""
    return np.sqrt(2 * _GRAVITY * rise)


def _arc(airborne: Times, speed: float) -> Times:
    """Rise of the body, metres, by seconds in the air."""
    return airborne * (speed - 0.5 * _GRAVITY * airborne)


def _pushed(u: Times) -> Times:
    """Share of a push done, as u goes from 0 to 1: slow at first."""
    return np.clip(u, 0, 1) ** 2


def _landed(u: Times) -> Times:
    """Share of a landing done, as u goes from 0 to 1: slow at last."""
    return 1 - (1 - np.clip(u, 0, 1)) ** 2


def _count(t: Times, cycle: float, num_cycles: int) -> tuple[Times, Times]:
    """Number of the cycle, from 0, and seconds since it began."""
    number = np.clip(np.floor(t / cycle), 0, num_cycles - 1)
    return number, np.clip(t - number * cycle, 0, cycle)


def jump(person: Person, rng: np.random.Generator, start: Row, *, forward: bool = False) -> Take:
    """Jump with both feet, on the spot or forward: bend, swing the arms, fly, land softly."""
    rise = rng.uniform(0.18, 0.34) * person.vigour
    distance = rng.uniform(0.45, 0.9) if forward else 0.0
    depth, landing, top = -rng.uniform(0.26, 0.36), -rng.uniform(0.2, 0.3), 0.06
    speed = _speed(rise)
    flight = 2 * speed / _GRAVITY
    extension, absorption = 2 * (top - depth) / speed, 2 * (top - landing) / speed
    crouch, recovery = rng.uniform(0.42, 0.6), rng.uniform(0.5, 0.7)
    velocity = distance / flight
    up, down = 0.5 * velocity * extension, 0.4 * velocity * absorption
    arms = rng.uniform(110.0, 160.0)
    take = keyed(
        start,
        key(crouch, pitch=18.0, bend=26.0, nod=-18.0, swing=-48.0, elbow=18.0, foot_pitch=0.0),
        key(0.55 * extension, pitch=14.0, bend=14.0, swing=-5.0, foot_pitch=6.0),
        key(
            0.45 * extension,
            {"pitch": 4.0, "bend": 0.0, "nod": -5.0},
            {"swing": 0.55 * arms, "elbow": 25.0, "foot_pitch": 48.0},
        ),
        key(0.5 * flight, bend=2.0, swing=arms, foot_pitch=32.0),
        key(0.5 * flight, pitch=6.0, bend=10.0, swing=0.75 * arms, foot_pitch=26.0),
        key(0.35 * absorption, bend=16.0, foot_pitch=0.0, swing=0.5 * arms),
        key(0.65 * absorption, pitch=16.0, bend=24.0, nod=-12.0, swing=15.0, elbow=40.0),
        key(recovery, start),
    )
    takeoff = crouch + extension
    touch = takeoff + flight

    def leap(t: Times) -> dict[str, Times]:
        pushed, landed = _pushed((t - crouch) / extension), _landed((t - touch) / absorption)
        airborne = np.clip(t - takeoff, 0, flight)
        arc = _arc(airborne, speed)
        height = depth * ease(t / crouch) + (top - depth) * pushed + (landing - top) * landed
        height -= landing * ease((t - (touch + absorption)) / recovery)
        return {
            "height": height + arc,
            "forward": up * pushed + velocity * airborne + down * landed,
            "foot_lift": arc + 0.05 * np.sin(np.pi * airborne / flight) ** 2,
            "foot_forward": (up + distance + down) * ease(airborne / flight),
        }

    return take.plus(leap)


def hop(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Hop several times on the left foot, a little forward each time."""
    num_hops, lead, tail = int(rng.integers(3, 7)), 0.75, 0.8
    rise, top, depth = rng.uniform(0.06, 0.11), 0.045, -rng.uniform(0.09, 0.14)
    speed = _speed(rise)
    flight, push = 2 * speed / _GRAVITY, 2 * (top - depth) / speed
    cycle = flight + 2 * push
    advance = rng.uniform(0.1, 0.3)
    lifted = {"right_foot_lift": 0.34, "right_foot_pitch": 50.0, "right_foot_forward": -0.2}
    shifted = {"aside": 0.85 * person.stance, "bend": 8.0, "pitch": 4.0, "roll": -3.0}
    take = keyed(
        start,
        key(0.45 * lead, aside=0.7 * person.stance, right_foot_pitch=20.0),
        key(0.55 * lead, lifted, shifted, elbow=70.0, up=30.0, out=60.0),
        key(num_hops * cycle),
        key(
            0.6 * tail,
            {"right_foot_lift": 0.04, "right_foot_pitch": 10.0, "right_foot_forward": 0.0},
            {"aside": 0.5 * person.stance, "bend": 2.0},
        ),
        key(0.4 * tail, start),
    )

    def hops(t: Times) -> dict[str, Times]:
        number, phase = _count(t - lead, cycle, num_hops)
        airborne = np.clip(phase - push, 0, flight)
        arc = _arc(airborne, speed)
        pushed, landed = _pushed(phase / push), _landed((phase - push - flight) / push)
        hopping = ease(t / lead) * ease((lead + num_hops * cycle + tail - t) / tail)
        body = advance * (number + np.clip((phase - 0.3 * push) / (flight + 1.4 * push), 0, 1))
        return {
            "height": depth * hopping + (top - depth) * (pushed - landed) + arc,
            "forward": body,
            "left_foot_forward": advance * (number + ease(airborne / flight)),
            "right_foot_forward": body,
            "foot_lift": arc,
            "left_foot_pitch": 42 * np.clip(1.6 * pushed - 0.6, 0, 1) * (1 - landed),
            "swing": 25 * (pushed - landed),
        }

    return take.plus(hops)


def jumping_jacks(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Feet apart and arms up, feet together and arms down, with a small jump each."""
    num_jumps, lead, tail = 2 * int(rng.integers(3, 7)), 0.35, 0.4
    rise, top, depth = rng.uniform(0.05, 0.08), 0.04, -0.07
    speed = _speed(rise)
    flight, push = 2 * speed / _GRAVITY, 2 * (top - depth) / speed
    cycle = flight + 2 * push
    duration = lead + num_jumps * cycle + tail
    spread, reach = rng.uniform(0.2, 0.28), rng.uniform(150.0, 168.0)

    def jacks(t: Times) -> dict[str, Times]:
        number, phase = _count(t - lead, cycle, num_jumps)
        airborne = np.clip(phase - push, 0, flight)
        arc = _arc(airborne, speed)
        pushed, landed = _pushed(phase / push), _landed((phase - push - flight) / push)
        begun, unfinished = ease(t / lead), ease((duration - t) / tail)
        even = number % 2 == 0
        moved, opened = ease(airborne / flight), ease(phase / cycle)
        apart = spread * np.where(even, moved, 1 - moved)
        return {
            "height": depth * (begun * unfinished) + (top - depth) * (pushed - landed) + arc,
            "left_foot_aside": apart,
            "right_foot_aside": -apart,
            "foot_lift": arc,
            "foot_pitch": 40 * np.clip(1.6 * pushed - 0.6, 0, 1) * (1 - landed),
            "up": (reach - person.arms_out) * np.where(even, opened, 1 - opened),
            "out": 12 * begun * unfinished,
        }

    return still(start, duration).plus(jacks)
