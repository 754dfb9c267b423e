"""Captions of people's motion, by a captioner of 2D keypoints or of 3D joints."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from langpose_dist.config import RunConfig
from langpose_dist.inference.model import units_per_metre
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.picture import normalise
from langpose_dist.inference.rate import Rates
from langpose_dist.inference.result import LiftedClip


@dataclass(frozen=True)
class Describer:
    """A captioner.

    Args:
        name: As the user gives it.
        config: Of its training.
        fps: Rate of the motion that it was trained on.
        predict: Captions of motions (N, T, 17, 3), T at most ``window.num_frames``.
        facts: Origin of the weights.
    """

    name: str
    config: RunConfig
    fps: float
    predict: Callable[[np.ndarray], np.ndarray]
    facts: Mapping[str, Any]

    @property
    def is_3d(self) -> bool:
        """Describes 3D joints, not 2D keypoints."""
        return self.config.caption.input == "joints_3d"

    def add_captions(self, clip: LiftedClip, options: LiftOptions) -> LiftedClip:
        """The clip with captions among its facts: each part that fits the captioner's window has one.

        Args:
            clip: A person in 2D and 3D.
            options: Those that it was lifted with.
        """
        rates = Rates(clip.fps, self.fps)
        fps = clip.fps if rates.are_same else self.fps
        ends = np.array([0, len(clip.poses_3d) - 1]) + clip.first_frame
        if self.is_3d:
            frames, first = rates.values_to_model(clip.poses_3d, clip.first_frame)
        else:
            frames, first = rates.to_model(clip.keypoints_2d, clip.first_frame)
        parts = []
        for start, stop in _parts(len(frames), self.config.window.num_frames):
            motion = frames[None, start:stop] if self.is_3d else self._seen(frames[None, start:stop], options)
            (caption,) = self.predict(motion)
            # The captioner's frames may reach a little beyond the clip's.
            times = (np.array([start, stop - 1]) + first) / fps
            start_s, end_s = times.clip(*ends / clip.fps).round(2).tolist()
            parts.append({"start_s": start_s, "end_s": end_s, "caption": str(caption)})
        found = {
            "model": self.name,
            "weights": dict(self.facts),
            "input": self.config.caption.input,
            "text_form": self.config.caption.text_form,
            "parts": parts,
        }
        return replace(clip, facts={**clip.facts, "captions": found})

    def _seen(
        self, keypoints: Float[np.ndarray, "N T 17 3"], options: LiftOptions
    ) -> Float[np.ndarray, "N T 17 3"]:
        """Keypoints as in the captioner's training."""
        unit = units_per_metre(self.config)
        motion, _ = normalise(keypoints, options.normalisation, options.size, unit)
        if not self.config.noise.enabled:  # trained with confidence 1
            motion[..., 2] = motion[..., 2] > 0
        return motion


def _parts(num_frames: int, longest: int) -> Iterator[tuple[int, int]]:
    """The fewest parts of equal length that fit: a rest of a few frames is no motion."""
    count = -(-num_frames // longest)
    yield from pairwise(num_frames * part // count for part in range(count + 1))
