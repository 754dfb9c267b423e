"""Actions of the arms, trunk and head; the feet stay where they are, so most can be done seated too."""

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
    envelope,
    keyed,
    of,
    other,
    side_sign,
)


def _held(
    rng: np.random.Generator, start: Row, pose: dict[str, float], *, there: float, hold: float, back: float
) -> Take:
    """Into a pose, hold it, and back."""
    return keyed(start, [(there, pose), (hold, pose), (back, as_key(start))])


def _oscillating(take: Take, there: float, back: float, hertz: float, amounts: dict[str, float]) -> Take:
    """A take with a rhythm on some channels between its first and last seconds."""

    def evaluate(t: Times) -> Rows:
        rows = take.evaluate(t)
        wave = np.sin(2 * np.pi * hertz * (t - there))
        wave *= envelope(t, 0.8 * there, take.duration - 0.8 * back, min(0.35, 0.5 / hertz))
        for name, amount in amounts.items():
            rows[:, INDEX[name]] += amount * wave
        return rows

    return Take(take.duration, evaluate)


def wave(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Raise a forearm beside the head and swing it from side to side."""
    time = rng.uniform(0.5, 0.7) / person.tempo
    pose = of(
        side,
        up=rng.uniform(72.0, 98.0),
        out=rng.uniform(62.0, 88.0),
        turn=80.0,
        elbow=rng.uniform(72.0, 92.0),
        swing=0.0,
        curl=4.0,
    )
    take = _held(rng, start, pose, there=time, hold=rng.uniform(1.3, 2.8), back=1.1 * time)
    rhythm = of(side, elbow=rng.uniform(24.0, 34.0) * person.vigour, wrist=14.0)
    return _oscillating(take, time, 1.1 * time, rng.uniform(1.3, 2.1) * person.tempo, rhythm)


def clap(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Clap the hands in front of the chest."""
    time = 0.55 / person.tempo
    pose = both(
        up=rng.uniform(36.0, 48.0),
        out=8.0,
        turn=-27.0,
        elbow=rng.uniform(72.0, 88.0),
        curl=4.0,
        pronate=0.0,
        swing=0.0,
    )
    take = _held(rng, start, pose, there=time, hold=rng.uniform(1.5, 3.0), back=time)
    return _oscillating(take, time, time, rng.uniform(1.8, 2.8) * person.tempo, both(turn=18.0))


def raise_arms(person: Person, rng: np.random.Generator, start: Row, *, sides: tuple[Side, ...]) -> Take:
    """Raise one arm or both overhead."""
    time = rng.uniform(0.7, 1.0) / person.tempo
    out = rng.uniform(0.0, 85.0)
    pose: dict[str, float] = {"bend": -4.0}
    for side in sides:
        pose |= of(side, up=rng.uniform(160.0, 174.0), out=out, elbow=6.0, swing=0.0, curl=8.0)
    return _held(rng, start, pose, there=time, hold=rng.uniform(0.5, 1.5), back=time)


def stretch(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stretch the arms overhead and then out to the sides, the back arched."""
    time = rng.uniform(0.9, 1.2) / person.tempo
    above = both(up=172.0, out=60.0, elbow=4.0, swing=0.0) | {"bend": -16.0, "nod": -22.0, "pitch": -2.0}
    aside = both(up=92.0, out=104.0, elbow=3.0) | {"bend": -13.0, "nod": -12.0}
    keys = [
        (time, above),
        (rng.uniform(0.4, 0.9), above),
        (0.9 * time, aside),
        (rng.uniform(0.4, 0.9), aside),
        (time, as_key(start)),
    ]
    return keyed(start, keys)


def look_around(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Turn the head, and the trunk a little, to one side and then the other."""
    time = rng.uniform(0.6, 0.85) / person.tempo
    first = side_sign(SIDES[int(rng.integers(2))])

    def gaze(sign: float) -> dict[str, float]:
        return {
            "look": sign * rng.uniform(52.0, 70.0),
            "twist": sign * rng.uniform(10.0, 22.0),
            "nod": rng.uniform(-8.0, 6.0),
        }

    one, two = gaze(first), gaze(-first)
    return keyed(start, [(time, one), (0.4, {}), (1.5 * time, two), (0.4, {}), (time, as_key(start))])


def nod(person: Person, rng: np.random.Generator, start: Row, *, shake: bool = False) -> Take:
    """Nod, or shake the head."""
    take = keyed(start, [(rng.uniform(1.6, 2.6), {})])
    amounts = {"look": 32.0 * person.vigour} if shake else {"nod": 20.0 * person.vigour}
    return _oscillating(take, 0.3, 0.3, rng.uniform(1.1, 1.6) * person.tempo, amounts)


def point(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Point at something in front or to the side, and look there."""
    sign, time = side_sign(side), rng.uniform(0.5, 0.75) / person.tempo
    out = rng.uniform(0.0, 50.0)
    pose = of(side, up=rng.uniform(78.0, 96.0), out=out, elbow=3.0, swing=0.0, curl=12.0) | {
        "look": sign * 0.8 * out,
        "twist": sign * 0.15 * out - sign * 6,
    }
    return _held(rng, start, pose, there=time, hold=rng.uniform(0.8, 1.8), back=time)


def circle_arms(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Hold the arms out and draw circles with them."""
    time = 0.7 / person.tempo
    hertz, size = rng.uniform(0.7, 1.1) * person.tempo, rng.uniform(24.0, 36.0)
    pose = both(up=88.0, out=90.0, elbow=4.0, swing=0.0)
    take = _held(rng, start, pose, there=time, hold=rng.uniform(2.2, 3.6), back=time)
    take = _oscillating(take, time, time, hertz, both(up=size))

    def evaluate(t: Times) -> Rows:
        rows = take.evaluate(t)
        circle = envelope(t, 0.8 * time, take.duration - 0.8 * time, 0.35)
        circle *= np.cos(2 * np.pi * hertz * (t - time))
        for arm in SIDES:
            rows[:, INDEX[f"{arm}_out"]] += size * circle
        return rows

    return Take(take.duration, evaluate)


def twist_trunk(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Turn the trunk from side to side with the elbows held out."""
    time = 0.6 / person.tempo
    pose = both(up=82.0, out=80.0, turn=-8.0, elbow=112.0, swing=0.0)
    take = _held(rng, start, pose, there=time, hold=rng.uniform(2.2, 3.6), back=time)
    turned = {"twist": 42.0 * person.vigour, "yaw": 10.0}
    return _oscillating(take, time, time, rng.uniform(0.45, 0.65) * person.tempo, turned)


def lean_aside(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Lean to one side, the other arm overhead."""
    sign, time = side_sign(side), rng.uniform(0.8, 1.1) / person.tempo
    pose = {
        "lean": sign * rng.uniform(28.0, 38.0),
        "roll": sign * 5.0,
        "aside": -sign * 0.05,
        "tilt": sign * 10.0,
    }
    pose |= of(other(side), up=162.0, out=88.0, elbow=30.0, swing=0.0) | of(side, up=4.0, elbow=15.0)
    return _held(rng, start, pose, there=time, hold=rng.uniform(0.5, 1.3), back=time)


def hands_on_hips(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stand with the hands on the hips."""
    time = rng.uniform(0.5, 0.75) / person.tempo
    pose = both(up=42.0, out=104.0, turn=-62.0, elbow=96.0, swing=0.0, curl=30.0)
    return _held(rng, start, pose, there=time, hold=rng.uniform(1.0, 2.5), back=time)


def drink(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Bring a cup to the mouth, tip it, put it down."""
    sign, time = side_sign(side), 0.65 / person.tempo
    hold = of(side, up=16.0, out=10.0, elbow=92.0, curl=55.0, swing=0.0, turn=-10.0)
    sip = of(side, up=46.0, out=22.0, elbow=138.0, turn=-36.0, pronate=-20.0) | {"nod": -4.0}
    tip = sip | {"nod": -20.0, "tilt": -sign * 2.0} | of(side, up=58.0)
    return keyed(
        start,
        [
            (time, hold),
            (time, sip),
            (0.5 * time, tip),
            (rng.uniform(0.6, 1.2), tip),
            (time, hold | {"nod": 0.0}),
            (time, as_key(start)),
        ],
    )


def shrug(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Lift the shoulders, the palms turned up."""
    time = 0.4 / person.tempo
    pose = both(shrug=20.0, up=18.0, out=80.0, turn=38.0, elbow=78.0, swing=0.0, curl=8.0, pronate=-60.0) | {
        "tilt": 7.0
    }
    return _held(rng, start, pose, there=time, hold=rng.uniform(0.4, 0.8), back=1.2 * time)
