"""Actions of the whole body about one place: sitting, kneeling, bending, kicking and the like."""

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


def stand(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stay as one is; the weight goes from foot to foot."""
    side = side_sign(SIDES[int(rng.integers(2))])
    duration = rng.uniform(1.5, 4.0)
    shift = {"aside": side * rng.uniform(0.01, 0.035), "roll": side * 1.5, "lean": -side * 1.5}
    standing = {"aside": 0.0, "roll": 0.0, "lean": 0.0}
    return keyed(start, [(0.4 * duration, shift), (0.2 * duration, shift), (0.4 * duration, standing)])


def stay(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Hold any posture."""
    return keyed(start, [(rng.uniform(1.5, 3.5), {})])


def sit_down(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Sit down as onto a chair behind the feet."""
    seat = person.hip_to_height(person.shank + person.ankle - rng.uniform(0.0, 0.05))
    back = -0.97 * person.thigh
    tempo = 1 / person.tempo
    hands = both(up=rng.uniform(20.0, 27.0), out=18.0, swing=0.0, turn=-14.0, elbow=rng.uniform(12.0, 24.0))
    keys = [
        (0.3 * tempo, {"bend": 8.0, "pitch": 6.0, "nod": 8.0}),
        (
            0.65 * tempo,
            {"bend": 26.0, "pitch": 26.0, "forward": 0.62 * back, "height": 0.5 * seat}
            | both(swing=12.0, elbow=30.0, knee_out=4.0),
        ),
        (
            0.45 * tempo,
            {"bend": 20.0, "pitch": 12.0, "forward": back, "height": seat, "nod": 0.0}
            | hands
            | both(knee_out=6.0),
        ),
        (0.55 * tempo, {"bend": 5.0, "pitch": -8.0, "height": seat}),
    ]
    return keyed(start, keys)


def stand_up(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """From a chair: lean forward, rise over the feet."""
    tempo = 1 / person.tempo
    place = {"forward": float(np.mean(start[[INDEX[f"{side}_foot_forward"] for side in SIDES]]))}
    middle = (start[INDEX["forward"]] + place["forward"]) / 2
    keys = [
        (
            0.55 * tempo,
            {"bend": 28.0, "pitch": 26.0, "forward": start[INDEX["forward"]] + 0.05}
            | both(swing=5.0, elbow=35.0),
        ),
        (
            0.5 * tempo,
            {"bend": 26.0, "pitch": 26.0, "height": 0.6 * start[INDEX["height"]], "forward": middle}
            | both(up=20.0, swing=15.0),
        ),
        (
            0.8 * tempo,
            as_key(person.neutral)
            | {f"{side}_foot_forward": start[INDEX[f"{side}_foot_forward"]] for side in SIDES}
            | place,
        ),
    ]
    return keyed(start, keys)


def squat(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Go down over the heels with the arms held forward and come up, once or several times."""
    depth = person.hip_to_height(rng.uniform(0.36, 0.5))
    time = rng.uniform(0.75, 1.05) / person.tempo
    low = {"height": depth, "forward": -0.17, "pitch": 28.0, "bend": 14.0, "nod": -22.0}
    low |= both(up=82.0, out=6.0, elbow=10.0, knee_out=14.0)
    keys = []
    for _ in range(int(rng.integers(1, 4))):
        keys += [(time, low), (rng.uniform(0.1, 0.3), {}), (time, as_key(start))]
    return keyed(start, keys)


def kneel(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Step back with one foot and go down onto that knee."""
    front = other(side)
    sign, tempo = side_sign(front), 1 / person.tempo
    down = person.hip_to_height(person.thigh + 0.055)
    pelvis = -0.95 * person.thigh
    # The shank lies behind the knee, which is below the hip; the foot stands on its ball.
    back = pelvis - person.shank - 0.155
    hands = of(front, up=22.0, elbow=35.0, out=15.0) | of(side, up=10.0, elbow=22.0)
    keys = [
        (0.4 * tempo, {"aside": sign * 0.085, "height": -0.03, "nod": 15.0} | of(side, foot_pitch=28.0)),
        (
            0.4 * tempo,
            {"height": -0.12, "forward": -0.04, "bend": 12.0}
            | of(side, foot_forward=0.5 * back, foot_lift=0.1, foot_pitch=45.0),
        ),
        (
            0.4 * tempo,
            {
                "height": 0.45 * down,
                "forward": 0.4 * pelvis,
                "aside": sign * 0.04,
                "bend": 16.0,
                "pitch": 10.0,
            }
            | of(side, foot_forward=back, foot_lift=0.0, foot_pitch=58.0),
        ),
        (
            0.7 * tempo,
            {"height": down, "forward": pelvis, "aside": 0.0, "bend": 5.0, "pitch": 2.0, "nod": 0.0}
            | of(side, foot_pitch=80.0)
            | hands,
        ),
        (0.3 * tempo, {"bend": 3.0, "pitch": 0.0}),
    ]
    return keyed(start, keys)


def rise(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Up from one knee: onto the front foot, the back foot follows."""
    front = other(side)
    tempo = 1 / person.tempo
    place = float(start[INDEX[f"{front}_foot_forward"]])
    keys = [
        (0.45 * tempo, {"bend": 22.0, "pitch": 14.0, "forward": 0.35 * place}),
        (
            0.6 * tempo,
            {
                "height": 0.42 * start[INDEX["height"]],
                "forward": 0.72 * place,
                "aside": side_sign(front) * 0.03,
                "bend": 20.0,
            }
            | of(side, foot_pitch=68.0, foot_lift=0.01),
        ),
        (
            0.45 * tempo,
            {
                "height": -0.08,
                "forward": 0.97 * place,
                "aside": side_sign(front) * 0.08,
                "bend": 8.0,
                "pitch": 4.0,
            }
            | of(side, foot_forward=0.4 * place, foot_lift=0.1, foot_pitch=30.0),
        ),
        (0.5 * tempo, as_key(person.neutral) | {"forward": place} | both(foot_forward=place)),
    ]
    return keyed(start, keys)


def bend_down(person: Person, rng: np.random.Generator, start: Row, *, how: str = "bend") -> Take:
    """Bend forward: a bow, bending down, or touching the toes."""
    time = rng.uniform(0.8, 1.15) / person.tempo
    if how == "bow":
        angle = rng.uniform(45.0, 62.0)
        low = {"pitch": 0.55 * angle, "bend": 0.45 * angle, "nod": 14.0, "forward": -0.07}
        low |= both(swing=0.35 * angle, elbow=6.0, up=3.0)
    elif how == "toes":
        angle = rng.uniform(122.0, 134.0)
        low = {"pitch": 0.56 * angle, "bend": 0.44 * angle, "nod": 10.0, "forward": -0.16, "height": -0.01}
        low |= both(swing=angle + 12, elbow=4.0, up=2.0, out=0.0)
    else:
        angle = rng.uniform(78.0, 98.0)
        low = {"pitch": 0.5 * angle, "bend": 0.5 * angle, "nod": 5.0, "forward": -0.13, "height": -0.05}
        low |= both(swing=angle - 4, elbow=12.0, up=4.0)
    return keyed(start, [(time, low), (rng.uniform(0.25, 0.7), low), (1.05 * time, as_key(start))])


def pick_up(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Crouch, take something from the floor with one hand, and come up with it."""
    time = rng.uniform(0.9, 1.15) / person.tempo
    sign = side_sign(side)
    low = {
        "height": person.hip_to_height(0.42),
        "forward": -0.12,
        "pitch": 42.0,
        "bend": 36.0,
        "lean": sign * 6.0,
        "twist": -sign * 12.0,
        "nod": 5.0,
    }
    low |= of(side, swing=98.0, up=4.0, elbow=6.0, curl=10.0) | of(
        other(side), up=40.0, elbow=70.0, swing=20.0
    )
    low |= both(knee_out=10.0) | of(side, foot_pitch=18.0) | of(other(side), foot_pitch=4.0)
    hold = as_key(start) | of(side, up=22.0, elbow=88.0, curl=60.0, out=10.0)
    return keyed(
        start,
        [
            (time, low),
            (0.25, of(side, curl=65.0)),
            (1.1 * time, hold),
            (rng.uniform(0.2, 0.6), {}),
            (0.5, as_key(start)),
        ],
    )


def lunge(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """A long step forward into a deep stance, and back."""
    length = rng.uniform(0.72, 0.88) * (person.thigh + person.shank) / 0.8
    time = 0.42 / person.tempo
    sign = side_sign(side)
    deep = {"forward": 0.5 * length, "height": person.hip_to_height(0.52), "aside": 0.0, "bend": 4.0}
    deep |= of(side, foot_forward=length, foot_lift=0.0, foot_pitch=0.0) | of(other(side), foot_pitch=52.0)
    deep |= both(up=40.0, out=100.0, turn=-55.0, elbow=95.0)  # hands on the hips
    keys = [
        (
            time,
            {"aside": -sign * 0.07}
            | of(side, foot_pitch=20.0)
            | both(up=35.0, out=90.0, turn=-40.0, elbow=80.0),
        ),
        (
            time,
            of(side, foot_forward=0.6 * length, foot_lift=0.14, foot_pitch=5.0) | {"forward": 0.2 * length},
        ),
        (
            time,
            of(side, foot_forward=length, foot_lift=0.0, foot_pitch=0.0)
            | {"forward": 0.4 * length, "height": -0.15}
            | of(other(side), foot_pitch=30.0),
        ),
        (1.3 * time, deep),
        (rng.uniform(0.3, 0.8), {}),
        (
            1.1 * time,
            {"forward": 0.3 * length, "height": -0.13, "aside": -sign * 0.05}
            | of(side, foot_pitch=-6.0)
            | of(other(side), foot_pitch=15.0),
        ),
        (
            time,
            of(side, foot_forward=0.4 * length, foot_lift=0.12, foot_pitch=0.0)
            | of(other(side), foot_pitch=0.0)
            | {"forward": 0.05 * length, "aside": -sign * 0.08},
        ),
        (1.1 * time, as_key(start)),
    ]
    return keyed(start, keys)


def balance(person: Person, rng: np.random.Generator, start: Row, *, side: Side) -> Take:
    """Stand on one foot, the arms held out."""
    sign, free = side_sign(side), other(side)
    time = 1 / person.tempo
    keys = [
        (0.55 * time, {"aside": sign * 0.9 * person.stance} | of(free, foot_pitch=18.0)),
        (
            0.7 * time,
            {"roll": -sign * 3.0, "aside": sign * person.stance}
            | of(free, foot_lift=0.36, foot_forward=0.1, foot_pitch=25.0, knee_out=5.0)
            | both(up=rng.uniform(65.0, 90.0), out=88.0, elbow=8.0),
        ),
        (rng.uniform(1.2, 3.0), {}),
        (
            0.7 * time,
            {"aside": sign * 0.7 * person.stance}
            | of(free, foot_lift=0.03, foot_forward=0.0, foot_pitch=12.0),
        ),
        (0.5 * time, as_key(start)),
    ]
    take = keyed(start, keys)

    def evaluate(t: Times) -> Rows:
        rows = take.evaluate(t)
        wobble = ease(t / 1.2) * ease((take.duration - t) / 1.2) * np.sin(2 * np.pi * 0.9 * t)
        rows[:, INDEX["lean"]] += 3.0 * wobble
        for arm in SIDES:
            rows[:, INDEX[f"{arm}_up"]] += side_sign(arm) * 7.0 * wobble
        return rows

    return Take(take.duration, evaluate)
