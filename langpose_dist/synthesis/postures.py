"""Actions of the whole body about one place: sitting, kneeling, bending, balancing and the like."""

import numpy as np

from langpose_dist.synthesis.motion import (
    INDEX,
    SIDES,
    Person,
    Row,
    Take,
    Times,
    envelope,
    key,
    keyed,
    mirrored,
    side_sign,
)


def stand(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stand still; the weight goes from foot to foot."""
    side = side_sign(SIDES[int(rng.integers(2))])
    duration = rng.uniform(1.5, 4.0)
    return keyed(
        start,
        key(0.4 * duration, aside=side * rng.uniform(0.01, 0.035), roll=side * 1.5, lean=-side * 1.5),
        key(0.2 * duration),
        key(0.4 * duration, aside=0.0, roll=0.0, lean=0.0),
    )


def stay(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Hold any posture."""
    return keyed(start, key(rng.uniform(1.5, 3.5)))


def sit_down(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Sit down as onto a chair behind the feet."""
    time = 1 / person.tempo
    seat = person.hip_to_height(person.shank + person.ankle - rng.uniform(0.0, 0.05))
    back = -0.97 * person.thigh
    up, elbow = rng.uniform(20.0, 27.0), rng.uniform(12.0, 24.0)
    return keyed(
        start,
        key(0.3 * time, bend=8.0, pitch=6.0, nod=8.0),
        key(
            0.65 * time,
            {"bend": 26.0, "pitch": 26.0, "forward": 0.62 * back, "height": 0.5 * seat},
            {"swing": 12.0, "elbow": 30.0, "knee_out": 4.0},
        ),
        key(
            0.45 * time,
            {"bend": 20.0, "pitch": 12.0, "forward": back, "height": seat, "nod": 0.0},
            {"up": up, "out": 18.0, "swing": 0.0, "turn": -14.0, "elbow": elbow, "knee_out": 6.0},
        ),
        key(0.55 * time, bend=5.0, pitch=-8.0),
    )


def stand_up(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """From a chair: lean forward, rise over the feet."""
    time = 1 / person.tempo
    pelvis, height = start[INDEX["forward"]], start[INDEX["height"]]
    feet = start[INDEX["left_foot_forward"]], start[INDEX["right_foot_forward"]]
    place = float(np.mean(feet))
    return keyed(
        start,
        key(0.55 * time, bend=28.0, pitch=26.0, forward=pelvis + 0.05, swing=5.0, elbow=35.0),
        key(0.5 * time, bend=26.0, height=0.6 * height, forward=(pelvis + place) / 2, up=20.0, swing=15.0),
        key(0.8 * time, person.neutral, foot_forward=feet, forward=place),
    )


def squat(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Go down over the heels with the arms held forward and come up, once or several times."""
    depth = person.hip_to_height(rng.uniform(0.36, 0.5))
    time = rng.uniform(0.75, 1.05) / person.tempo
    low = {"height": depth, "forward": -0.17, "pitch": 28.0, "bend": 14.0, "nod": -22.0}
    low |= {"up": 82.0, "out": 6.0, "elbow": 10.0, "knee_out": 14.0}
    keys = []
    for _ in range(int(rng.integers(1, 4))):
        keys += [key(time, low), key(rng.uniform(0.1, 0.3)), key(time, start)]
    return keyed(start, *keys)


def kneel(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Step back with the left foot and go down onto that knee."""
    time = 1 / person.tempo
    down = person.hip_to_height(person.thigh + 0.055)
    pelvis = -0.95 * person.thigh
    # The shank lies behind the knee, which is below the hip; the foot stands on its ball.
    back = pelvis - person.shank - 0.155
    return keyed(
        start,
        key(0.4 * time, aside=-0.085, height=-0.03, nod=15.0, left_foot_pitch=28.0),
        key(
            0.4 * time,
            {"height": -0.12, "forward": -0.04, "bend": 12.0},
            {"left_foot_forward": 0.5 * back, "left_foot_lift": 0.1, "left_foot_pitch": 45.0},
        ),
        key(
            0.4 * time,
            {"height": 0.45 * down, "forward": 0.4 * pelvis, "aside": -0.04, "bend": 16.0, "pitch": 10.0},
            {"left_foot_forward": back, "left_foot_lift": 0.0, "left_foot_pitch": 58.0},
        ),
        key(
            0.7 * time,
            {"height": down, "forward": pelvis, "aside": 0.0, "bend": 5.0, "pitch": 2.0, "nod": 0.0},
            {"left_foot_pitch": 80.0, "up": (10.0, 22.0), "elbow": (22.0, 35.0), "right_out": 15.0},
        ),
        key(0.3 * time, bend=3.0, pitch=0.0),
    )


def rise(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Up from the left knee: onto the right foot, the left one follows."""
    time, place = 1 / person.tempo, float(start[INDEX["right_foot_forward"]])
    height = start[INDEX["height"]]
    return keyed(
        start,
        key(0.45 * time, bend=22.0, pitch=14.0, forward=0.35 * place),
        key(
            0.6 * time,
            {"height": 0.42 * height, "forward": 0.72 * place, "aside": -0.03, "bend": 20.0},
            {"left_foot_pitch": 68.0, "left_foot_lift": 0.01},
        ),
        key(
            0.45 * time,
            {"height": -0.08, "forward": 0.97 * place, "aside": -0.08, "bend": 8.0, "pitch": 4.0},
            {"left_foot_forward": 0.4 * place, "left_foot_lift": 0.1, "left_foot_pitch": 30.0},
        ),
        key(0.5 * time, person.neutral, forward=place, foot_forward=place),
    )


def bend_down(person: Person, rng: np.random.Generator, start: Row, *, how: str = "bend") -> Take:
    """Bend forward: a bow, bending down, or touching the toes."""
    time = rng.uniform(0.8, 1.15) / person.tempo
    if how == "bow":
        angle = rng.uniform(45.0, 62.0)
        low = {"pitch": 0.55 * angle, "bend": 0.45 * angle, "nod": 14.0, "forward": -0.07}
        low |= {"swing": 0.35 * angle, "elbow": 6.0, "up": 3.0}
    elif how == "toes":
        angle = rng.uniform(122.0, 134.0)
        low = {"pitch": 0.56 * angle, "bend": 0.44 * angle, "nod": 10.0, "forward": -0.16, "height": -0.01}
        low |= {"swing": angle + 12, "elbow": 4.0, "up": 2.0, "out": 0.0}
    else:
        angle = rng.uniform(78.0, 98.0)
        low = {"pitch": 0.5 * angle, "bend": 0.5 * angle, "nod": 5.0, "forward": -0.13, "height": -0.05}
        low |= {"swing": angle - 4, "elbow": 12.0, "up": 4.0}
    return keyed(start, key(time, low), key(rng.uniform(0.25, 0.7)), key(1.05 * time, start))


def pick_up(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Crouch, take something from the floor with the left hand, and come up with it."""
    time, low = rng.uniform(0.9, 1.15) / person.tempo, person.hip_to_height(0.42)
    return keyed(
        start,
        key(
            time,
            {"height": low, "forward": -0.12, "pitch": 42.0, "bend": 36.0, "lean": 6.0, "twist": -12.0},
            {"swing": (98.0, 20.0), "up": (4.0, 40.0), "elbow": (6.0, 70.0), "left_curl": 10.0, "nod": 5.0},
            {"knee_out": 10.0, "foot_pitch": (18.0, 4.0)},
        ),
        key(0.25, left_curl=65.0),
        key(1.1 * time, start, left_up=22.0, left_elbow=88.0, left_curl=60.0, left_out=10.0),
        key(rng.uniform(0.2, 0.6)),
        key(0.5, start),
    )


def lunge(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """A long step forward with the left foot into a deep stance, the hands on the hips, and back."""
    length, time = rng.uniform(0.72, 0.88) * person.leg / 0.8, 0.42 / person.tempo
    deep = person.hip_to_height(0.52)
    return keyed(
        start,
        key(time, aside=-0.07, left_foot_pitch=20.0, up=35.0, out=90.0, turn=-40.0, elbow=80.0),
        key(
            time,
            left_foot_forward=0.6 * length,
            left_foot_lift=0.14,
            left_foot_pitch=5.0,
            forward=0.2 * length,
        ),
        key(
            time,
            {"left_foot_forward": length, "left_foot_lift": 0.0, "foot_pitch": (0.0, 30.0)},
            {"forward": 0.4 * length, "height": -0.15},
        ),
        key(
            1.3 * time,
            {"forward": 0.5 * length, "height": deep, "aside": 0.0, "bend": 4.0, "right_foot_pitch": 52.0},
            {"up": 40.0, "out": 100.0, "turn": -55.0, "elbow": 95.0},
        ),
        key(rng.uniform(0.3, 0.8)),
        key(1.1 * time, forward=0.3 * length, height=-0.13, aside=-0.05, foot_pitch=(-6.0, 15.0)),
        key(
            time,
            {"left_foot_forward": 0.4 * length, "left_foot_lift": 0.12, "foot_pitch": 0.0},
            {"forward": 0.05 * length, "aside": -0.08},
        ),
        key(1.1 * time, start),
    )


def balance(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stand on the left foot, the arms held out."""
    return _wobbling(_stand_on_left(person, rng, start))


def balance_on_right(person: Person, rng: np.random.Generator, start: Row) -> Take:
    """Stand on the right foot; the wobble begins to the left here too."""
    return _wobbling(mirrored(_stand_on_left)(person, rng, start))


def _stand_on_left(person: Person, rng: np.random.Generator, start: Row) -> Take:
    time = 1 / person.tempo
    return keyed(
        start,
        key(0.55 * time, aside=0.9 * person.stance, right_foot_pitch=18.0),
        key(
            0.7 * time,
            {
                "right_foot_lift": 0.36,
                "right_foot_forward": 0.1,
                "right_foot_pitch": 25.0,
                "right_knee_out": 5.0,
            },
            {"up": rng.uniform(65.0, 90.0), "out": 88.0, "elbow": 8.0, "roll": -3.0, "aside": person.stance},
        ),
        key(rng.uniform(1.2, 3.0)),
        key(
            0.7 * time,
            {"right_foot_lift": 0.03, "right_foot_forward": 0.0, "right_foot_pitch": 12.0},
            aside=0.7 * person.stance,
        ),
        key(0.5 * time, start),
    )


def _wobbling(take: Take) -> Take:
    def wobble(t: Times) -> dict[str, Times]:
        wave = envelope(t, 0.0, take.duration, 1.2) * np.sin(2 * np.pi * 0.9 * t)
        return {"lean": 3.0 * wave, "left_up": 7.0 * wave, "right_up": -7.0 * wave}

    return take.plus(wobble)
