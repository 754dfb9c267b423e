"""Actions of the arms, trunk and head; the feet stay where they are, so most can be done seated too."""

from collections.abc import Callable, Mapping

import numpy as np

from langpose_dist.synthesis.motion import SIDES, Person, Row, Take, Times, envelope, key, keyed, side_sign


def _swinging(
    take: Take,
    there: float,
    back: float,
    hertz: float,
    amounts: Mapping[str, float],
    wave: Callable[[Times], Times] = np.sin,
) -> Take:
    """Add a rhythm to some channels between the first and last seconds of a take."""

    def rhythm(t: Times) -> dict[str, Times]:
        inside = envelope(t, 0.8 * there, take.duration - 0.8 * back, min(0.35, 0.5 / hertz))
        waves = wave(2 * np.pi * hertz * (t - there)) * inside
        return {name: amount * waves for name, amount in amounts.items()}

    return take.plus(rhythm)


def wave(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Raise the left forearm beside the head and swing it from side to side."""
    time = rng.uniform(0.5, 0.7) / person.tempo
    up, out, elbow = rng.uniform(72.0, 98.0), rng.uniform(62.0, 88.0), rng.uniform(72.0, 92.0)
    take = keyed(
        start,
        key(time, left_up=up, left_out=out, left_turn=80.0, left_elbow=elbow, left_swing=0.0, left_curl=4.0),
        key(rng.uniform(1.3, 2.8)),
        key(1.1 * time, start),
    )
    amount = rng.uniform(24.0, 34.0) * person.vigour
    hertz = rng.uniform(1.3, 2.1) * person.tempo
    return _swinging(take, time, 1.1 * time, hertz, {"left_elbow": amount, "left_wrist": 14.0})


def clap(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Clap the hands in front of the chest."""
    time = 0.55 / person.tempo
    up, elbow = rng.uniform(36.0, 48.0), rng.uniform(72.0, 88.0)
    take = keyed(
        start,
        key(time, up=up, out=8.0, turn=-27.0, elbow=elbow, curl=4.0, pronate=0.0, swing=0.0),
        key(rng.uniform(1.5, 3.0)),
        key(time, start),
    )
    return _swinging(take, time, time, rng.uniform(1.8, 2.8) * person.tempo, {"turn": 18.0})


def raise_arms(person: Person, rng: np.random.Generator, start: Row, *, both: bool = False) -> Take:
    """Raise the left arm overhead, or both."""
    time, out = rng.uniform(0.7, 1.0) / person.tempo, rng.uniform(0.0, 85.0)
    raised: dict[str, float] = {"bend": -4.0}
    for side in SIDES if both else SIDES[:1]:
        raised |= {f"{side}_up": rng.uniform(160.0, 174.0), f"{side}_out": out, f"{side}_elbow": 6.0}
        raised |= {f"{side}_swing": 0.0, f"{side}_curl": 8.0}
    return keyed(start, key(time, raised), key(rng.uniform(0.5, 1.5)), key(time, start))


def stretch(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stretch the arms overhead and then out to the sides, the back arched."""
    time = rng.uniform(0.9, 1.2) / person.tempo
    return keyed(
        start,
        key(time, up=172.0, out=60.0, elbow=4.0, swing=0.0, bend=-16.0, nod=-22.0, pitch=-2.0),
        key(rng.uniform(0.4, 0.9)),
        key(0.9 * time, up=92.0, out=104.0, elbow=3.0, bend=-13.0, nod=-12.0),
        key(rng.uniform(0.4, 0.9)),
        key(time, start),
    )


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

    return keyed(
        start,
        key(time, gaze(first)),
        key(0.4),
        key(1.5 * time, gaze(-first)),
        key(0.4),
        key(time, start),
    )


def nod(person: Person, rng: np.random.Generator, start: Row, *, shake: bool = False) -> Take:
    """Nod, or shake the head."""
    take = keyed(start, key(rng.uniform(1.6, 2.6)))
    amounts = {"look": 32.0 * person.vigour} if shake else {"nod": 20.0 * person.vigour}
    return _swinging(take, 0.3, 0.3, rng.uniform(1.1, 1.6) * person.tempo, amounts)


def point(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Point with the left hand at something in front or to the side, and look there."""
    time, out = rng.uniform(0.5, 0.75) / person.tempo, rng.uniform(0.0, 50.0)
    arm = {"left_up": rng.uniform(78.0, 96.0), "left_out": out, "left_elbow": 3.0, "left_swing": 0.0}
    return keyed(
        start,
        key(time, arm, left_curl=12.0, look=0.8 * out, twist=0.15 * out - 6),
        key(rng.uniform(0.8, 1.8)),
        key(time, start),
    )


def circle_arms(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Hold the arms out and draw circles with them."""
    time = 0.7 / person.tempo
    hertz, size = rng.uniform(0.7, 1.1) * person.tempo, rng.uniform(24.0, 36.0)
    raised = key(time, up=88.0, out=90.0, elbow=4.0, swing=0.0)
    take = keyed(start, raised, key(rng.uniform(2.2, 3.6)), key(time, start))
    take = _swinging(take, time, time, hertz, {"up": size})
    return _swinging(take, time, time, hertz, {"out": size}, np.cos)


def twist_trunk(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Turn the trunk from side to side with the elbows held out."""
    time = 0.6 / person.tempo
    raised = key(time, up=82.0, out=80.0, turn=-8.0, elbow=112.0, swing=0.0)
    take = keyed(start, raised, key(rng.uniform(2.2, 3.6)), key(time, start))
    hertz = rng.uniform(0.45, 0.65) * person.tempo
    return _swinging(take, time, time, hertz, {"twist": 42.0 * person.vigour, "yaw": 10.0})


def lean_aside(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Lean to the left, the right arm overhead."""
    time = rng.uniform(0.8, 1.1) / person.tempo
    arms = {"right_up": 162.0, "right_out": 88.0, "right_elbow": 30.0, "right_swing": 0.0}
    arms |= {"left_up": 4.0, "left_elbow": 15.0}
    return keyed(
        start,
        key(time, arms, lean=rng.uniform(28.0, 38.0), roll=5.0, aside=-0.05, tilt=10.0),
        key(rng.uniform(0.5, 1.3)),
        key(time, start),
    )


def hands_on_hips(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stand with the hands on the hips."""
    time = rng.uniform(0.5, 0.75) / person.tempo
    hands = key(time, up=42.0, out=104.0, turn=-62.0, elbow=96.0, swing=0.0, curl=30.0)
    return keyed(start, hands, key(rng.uniform(1.0, 2.5)), key(time, start))


def drink(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Bring a cup to the mouth with the left hand, tip it, put it down."""
    time = 0.65 / person.tempo
    held = {"left_up": 16.0, "left_out": 10.0, "left_elbow": 92.0, "left_turn": -10.0, "left_curl": 55.0}
    sip = {"left_up": 46.0, "left_out": 22.0, "left_elbow": 138.0, "left_turn": -36.0, "left_pronate": -20.0}
    return keyed(
        start,
        key(time, held, left_swing=0.0),
        key(time, sip, nod=-4.0),
        key(0.5 * time, left_up=58.0, nod=-20.0, tilt=-2.0),
        key(rng.uniform(0.6, 1.2)),
        key(time, held, nod=0.0),
        key(time, start),
    )


def shrug(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Lift the shoulders, the palms turned up."""
    time = 0.4 / person.tempo
    arms = {"shrug": 20.0, "up": 18.0, "out": 80.0, "turn": 38.0, "elbow": 78.0, "swing": 0.0}
    hold = rng.uniform(0.4, 0.8)
    return keyed(start, key(time, arms, curl=8.0, pronate=-60.0, tilt=7.0), key(hold), key(1.2 * time, start))
