"""A person's chain of actions with transitions between them, and the poses at any frame rate."""

from collections.abc import Sequence as SequenceOf
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
"""Actions of one sequence, not counting the transitions."""

_SWAY = {
    **dict.fromkeys(("forward", "aside"), 0.004),
    **dict.fromkeys(("yaw", "pitch", "roll", "bend", "lean", "twist"), 0.8),
    **dict.fromkeys(("nod", "tilt", "look"), 2.0),
    **dict.fromkeys(("up", "swing"), 1.5),
    **dict.fromkeys(("out", "turn", "elbow"), 2.5),
    **dict.fromkeys(("pronate", "curl"), 4.0),
    "wrist": 3.0,
}
"""Standard deviations of what is never quite still; the feet are."""

_FORWARD, _ASIDE, _YAW = (
    [INDEX[name], INDEX[f"left_foot_{name}"], INDEX[f"right_foot_{name}"]]
    for name in ("forward", "aside", "yaw")
)
"""Columns of pelvis, left and right foot."""

Place = Float64[np.ndarray, "3"]
"""A point of the floor and a direction: forward and aside in metres, yaw in degrees."""


@dataclass(frozen=True)
class Segment:
    """An action of a sequence, or a transition."""

    action: Action | None
    """``None`` for a transition."""
    start: float
    """Seconds from the beginning of the sequence."""
    take: Take
    place: Place
    """Where in the world the take begins."""

    @property
    def end(self) -> float:
        """Seconds from the beginning of the sequence."""
        return self.start + self.take.duration


@dataclass(frozen=True)
class Sequence:
    """A recording before it is sampled."""

    person: Person
    segments: tuple[Segment, ...]
    """In order, without gaps."""
    noise: Noise

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.segments[-1].end

    def channels(self, t: Times) -> Rows:
        """Channels at some times in ascending order, floor coordinates in the world's axes."""
        rows = np.empty((len(t), len(CHANNELS)))
        starts = np.array([segment.start for segment in self.segments])
        number = np.clip(np.searchsorted(starts, t, side="right") - 1, 0, len(starts) - 1)
        for index, segment in enumerate(self.segments):
            inside = number == index
            if inside.any():
                rows[inside] = _move(segment.take.evaluate(t[inside] - segment.start), segment.place)
        if len(t) > 1:
            _clear_floor(rows, t)
        return rows + self.noise.evaluate(t)

    def sample(self, fps: float) -> tuple[Float64[np.ndarray, "T 156"], Float64[np.ndarray, "T 3"]]:
        """AMASS's ``poses`` and ``trans`` at a frame rate."""
        t = np.arange(int(np.floor(self.duration * fps)) + 1) / fps
        return solve(self.channels(t), self.person)


def draw_actions(
    rng: np.random.Generator, num_actions: int, *, among: SequenceOf[Action] = ACTIONS
) -> tuple[Action, ...]:
    """Draw actions, each of which begins in the posture that the one before ends in.

    None follows itself, unless there is no other.
    """
    posture = "standing"
    actions: list[Action] = []
    while len(actions) < num_actions:
        fits = [action for action in among if action.before == posture]
        if posture == "sitting":
            fits += [action for action in among if action.seated]
        fits = [action for action in fits if not actions or action.label != actions[-1].label] or fits
        weights = np.array([action.weight for action in fits])
        action = fits[int(rng.choice(len(fits), p=weights / weights.sum()))]
        actions.append(action)
        posture = posture if action.seated else action.after
    return tuple(actions)


def perform(
    person: Person, actions: SequenceOf[Action], rng: np.random.Generator, *, place: Place | None = None
) -> Sequence:
    """Do actions one after the other, from a place and heading that are left to chance if none is given."""
    if place is None:
        place = np.array([rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5), rng.uniform(-180.0, 180.0)])
    posture, now = person.neutral, 0.0
    segments: list[Segment] = []
    for number, action in enumerate(actions):
        for part in (None, action) if number else (action,):
            take = _settle(posture, rng) if part is None else part.perform(person, rng, posture)
            segments.append(Segment(part, now, take, place))
            now = segments[-1].end
            posture, place = _recentre(take.end, place)
    return Sequence(person, tuple(segments), Noise.draw(rng, _SWAY))


def _settle(posture: Row, rng: np.random.Generator) -> Take:
    """A moment between two actions."""
    height, bend = posture[INDEX["height"]], posture[INDEX["bend"]]
    time = rng.uniform(0.12, 0.35)
    return keyed(posture, key(time, height=height - 0.006, bend=bend + 1.5), key(time, posture))


def _clear_floor(rows: Rows, t: Times) -> None:
    """Lift a foot on its way, if only by millimetres: feet do not slide."""
    for side in SIDES:
        columns = [INDEX[f"{side}_foot_forward"], INDEX[f"{side}_foot_aside"]]
        speed = np.hypot(*np.gradient(rows[:, columns], t, axis=0).T)
        lift = INDEX[f"{side}_foot_lift"]
        rows[:, lift] = np.hypot(rows[:, lift], 0.012 * speed / (0.6 + speed))


def _move(rows: Rows, place: Place) -> Rows:
    """Floor coordinates of an action to those of the world."""
    angle = np.radians(place[2])
    forward, aside = rows[:, _FORWARD], rows[:, _ASIDE]
    rows = rows.copy()
    rows[:, _FORWARD] = place[0] + np.cos(angle) * forward - np.sin(angle) * aside
    rows[:, _ASIDE] = place[1] + np.sin(angle) * forward + np.cos(angle) * aside
    rows[:, _YAW] += place[2]
    return rows


def _recentre(row: Row, place: Place) -> tuple[Row, Place]:
    """The posture that the next action begins from, and where: between the feet, facing as they do."""
    feet = [columns[1:] for columns in (_FORWARD, _ASIDE, _YAW)]
    centre = np.array([row[columns].mean() for columns in feet])
    world = _move(row[None], place)[0]
    here = np.array([world[columns].mean() for columns in feet])
    angle = np.radians(centre[2])
    forward, aside = row[_FORWARD] - centre[0], row[_ASIDE] - centre[1]
    moved = row.copy()
    moved[_FORWARD] = np.cos(angle) * forward + np.sin(angle) * aside
    moved[_ASIDE] = np.cos(angle) * aside - np.sin(angle) * forward
    moved[_YAW] -= centre[2]
    return moved, here
