"""People who act by a script within a room: the joints of ``H36M17`` in the world, at any frame rate."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
from jaxtyping import Float64

from langpose_dist.synthesis.actions import ACTIONS
from langpose_dist.synthesis.body import pose_keypoints, shaped_rest_joints
from langpose_dist.synthesis.locomotion import walk
from langpose_dist.synthesis.motion import Person
from langpose_dist.synthesis.rig import solve
from langpose_dist.synthesis.sequence import Place, draw_actions, perform

WALK = "walk in circle"
"""The one action that goes somewhere and still stays in the room."""


def generator(*key: int) -> np.random.Generator:
    """Random generator of a key: what it draws does not depend on what was drawn for others."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


@dataclass(frozen=True)
class Performer:
    """A person with a body of their own."""

    gender: str
    """Body model: female, male or neutral."""
    betas: Float64[np.ndarray, "16"]
    """Body shape."""
    person: Person

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw someone."""
        gender = ("female", "male", "neutral")[int(rng.choice(3, p=(0.45, 0.45, 0.1)))]
        betas = np.clip(rng.normal(0.0, 0.7, 16), -2.0, 2.0)
        return cls(gender, betas, Person.draw(rng, shaped_rest_joints(gender, betas)))

    def act(
        self, script: Collection[str], rng: np.random.Generator, *, fps: float, num_frames: int
    ) -> Float64[np.ndarray, "T 17 3"]:
        """Do actions in turn, within two metres of the room's middle.

        The script names actions that stay where they begin, and ``WALK``; the generator draws which, and how.

        Returns:
            Metres, z up, the floor at 0.
        """
        radius = rng.uniform(0.9, 1.3) * (1 if rng.integers(2) else -1) if WALK in script else 0.0
        on_circle = partial(walk, way="circle", radius=radius)
        actions = [
            replace(action, perform=on_circle) if action.label == WALK else action
            for action in ACTIONS
            if action.label in script
        ]
        chain = draw_actions(rng, 2 + math.ceil(2 * num_frames / fps), among=actions)
        sequence = perform(self.person, chain, rng, place=_draw_place(rng, radius))
        times = np.arange(num_frames) / fps
        assert times[-1] < sequence.duration, "an action took less than half a second"
        poses, trans = solve(sequence.channels(times), self.person)
        return pose_keypoints(self.gender, self.betas, poses, trans)


def _draw_place(rng: np.random.Generator, radius: float) -> Place:
    """Where to begin: anywhere near the middle, or on a circle around such a place."""
    extent = 0.3 if radius else 0.8
    forward, aside, yaw = rng.uniform((-extent, -extent, -180.0), (extent, extent, 180.0))
    angle = np.radians(yaw)
    return np.array([forward + radius * np.sin(angle), aside - radius * np.cos(angle), yaw])
