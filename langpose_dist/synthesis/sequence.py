"""Recordings: people, chains of actions with transitions between them, and their poses.

Sequence n of a seed is the same however many others are made, in whatever order and process.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.actions import ACTIONS, Action
from langpose_dist.synthesis.motion import (
    CHANNELS,
    INDEX,
    SIDES,
    Noise,
    Person,
    Row,
    Rows,
    Take,
    Times,
    key,
    keyed,
)
from langpose_dist.synthesis.rig import solve

MAX_ACTIONS = 6
"""Actions of one sequence, the transitions left out."""

_SWAY = {
    **dict.fromkeys(("forward", "aside"), 0.004),
    **dict.fromkeys(("yaw", "pitch", "roll", "bend", "lean", "twist"), 0.8),
    **dict.fromkeys(("nod", "tilt", "look"), 2.0),
    **{
        f"{side}_{name}": degrees
        for side in SIDES
        for name, degrees in {
            "up": 1.5,
            "out": 2.5,
            "swing": 1.5,
            "turn": 2.5,
            "elbow": 2.5,
            "pronate": 4.0,
            "wrist": 3.0,
            "curl": 4.0,
        }.items()
    },
}
"""Standard deviations of what is never quite still; the feet are."""

_PLACES = [INDEX[name] for name in ("forward", "left_foot_forward", "right_foot_forward")]
_ASIDES = [INDEX[name] for name in ("aside", "left_foot_aside", "right_foot_aside")]
_YAWS = [INDEX[name] for name in ("yaw", "left_foot_yaw", "right_foot_yaw")]


Place = Float64[np.ndarray, "3"]
"""Forward and aside in metres and yaw in degrees: a point of the floor, and which way."""


@dataclass(frozen=True)
class Segment:
    """An action of a sequence, or a transition."""

    action: Action | None
    """``None`` for a transition."""
    start: float
    """Seconds from the beginning of the sequence."""
    end: float


@dataclass(frozen=True)
class Sequence:
    """A recording before it is sampled."""

    person: Person
    segments: tuple[Segment, ...]
    """In order, without gaps."""
    _takes: tuple[Take, ...]
    _places: tuple[Place, ...]  # of the world, where each take begins
    _noise: Noise

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.segments[-1].end

    def channels(self, t: Times) -> Rows:
        """Channels at some times in ascending order, floor coordinates in the world's axes."""
        rows = np.empty((len(t), len(CHANNELS)))
        starts = np.array([segment.start for segment in self.segments])
        number = np.clip(np.searchsorted(starts, t, side="right") - 1, 0, len(starts) - 1)
        for index, (take, place) in enumerate(zip(self._takes, self._places, strict=True)):
            inside = number == index
            if inside.any():
                rows[inside] = _place(take.evaluate(t[inside] - starts[index]), place)
        if len(t) > 1:
            _clear_floor(rows, t)
        return rows + self._noise.evaluate(t)

    def sample(self, fps: float) -> tuple[Float64[np.ndarray, "T 156"], Float64[np.ndarray, "T 3"]]:
        """AMASS's ``poses`` and ``trans`` at a frame rate."""
        t = np.arange(int(np.floor(self.duration * fps)) + 1) / fps
        return solve(self.channels(t), self.person)


def draw_actions(rng: np.random.Generator, num_actions: int) -> tuple[Action, ...]:
    """Actions each of which begins in the posture that the one before ends in."""
    posture = "standing"
    actions: list[Action] = []
    while len(actions) < num_actions:
        fits = [action for action in ACTIONS if action.before == posture]
        if posture == "sitting":
            fits += [action for action in ACTIONS if action.seated]
        fits = [action for action in fits if not actions or action.label != actions[-1].label]
        weights = np.array([action.weight for action in fits])
        action = fits[int(rng.choice(len(fits), p=weights / weights.sum()))]
        actions.append(action)
        posture = posture if action.seated else action.after
    return tuple(actions)


def perform(person: Person, actions: tuple[Action, ...], rng: np.random.Generator) -> Sequence:
    """Do actions one after the other, from a place and heading left to chance."""
    segments: list[Segment] = []
    takes: list[Take] = []
    places: list[Place] = []
    place = np.array([rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), rng.uniform(-180.0, 180.0)])
    posture, now = person.neutral, 0.0

    def add(action: Action | None, take: Take) -> None:
        nonlocal posture, place, now
        segments.append(Segment(action, now, now + take.duration))
        takes.append(take)
        places.append(place)
        posture, place = _recentre(take.end, place)
        now += take.duration

    for number, action in enumerate(actions):
        if number > 0:
            add(None, _settle(posture, rng))
        add(action, action.perform(person, rng, posture))
    return Sequence(person, tuple(segments), tuple(takes), tuple(places), Noise.draw(rng, _SWAY))


def _settle(posture: Row, rng: np.random.Generator) -> Take:
    """A moment between two actions."""
    shift = {"height": posture[INDEX["height"]] - 0.006, "bend": posture[INDEX["bend"]] + 1.5}
    time = rng.uniform(0.12, 0.35)
    back = {name: posture[INDEX[name]] for name in shift}
    return keyed(posture, key(time, shift), key(time, back))


def _clear_floor(rows: Rows, t: Times) -> None:
    """A foot on its way is above the floor, if only by millimetres: feet do not slide."""
    for side in SIDES:
        columns = [INDEX[f"{side}_foot_forward"], INDEX[f"{side}_foot_aside"]]
        speed = np.hypot(*np.gradient(rows[:, columns], t, axis=0).T)
        lift = INDEX[f"{side}_foot_lift"]
        rows[:, lift] = np.hypot(rows[:, lift], 0.012 * speed / (0.6 + speed))


def _place(rows: Rows, place: Place) -> Rows:
    """Floor coordinates of an action to those of the world."""
    angle = np.radians(place[2])
    forward, aside = rows[:, _PLACES], rows[:, _ASIDES]
    rows = rows.copy()
    rows[:, _PLACES] = place[0] + np.cos(angle) * forward - np.sin(angle) * aside
    rows[:, _ASIDES] = place[1] + np.sin(angle) * forward + np.cos(angle) * aside
    rows[:, _YAWS] += place[2]
    return rows


def _recentre(row: Row, place: Place) -> tuple[Row, Place]:
    """The posture that the next action begins from, and where: between the feet, facing as they do."""
    feet = [_PLACES[1:], _ASIDES[1:], _YAWS[1:]]
    centre = np.array([row[columns].mean() for columns in feet])
    world = _place(row[None], place)[0]
    here = np.array([world[columns].mean() for columns in feet])
    angle = np.radians(centre[2])
    forward, aside = row[_PLACES] - centre[0], row[_ASIDES] - centre[1]
    moved = row.copy()
    moved[_PLACES] = np.cos(angle) * forward + np.sin(angle) * aside
    moved[_ASIDES] = np.cos(angle) * aside - np.sin(angle) * forward
    moved[_YAWS] -= centre[2]
    return moved, here
