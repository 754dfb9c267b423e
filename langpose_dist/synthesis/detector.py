"""A 2D detector's errors: slow wandering, jitter, and now and then a joint somewhere else altogether."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from langpose_dist.skeleton import H36M17

MAX_CONFIDENCE = 1.07
"""Peaks of heat maps overshoot 1 a little."""

_EASE = {"hip": 0.8, "knee": 1.0, "ankle": 1.5, "shoulder": 0.9, "elbow": 1.4, "wrist": 1.8}
"""Size of the errors at a joint of a limb, relative to the trunk's."""

_LOST_FRAMES = 6
"""Frames for which a joint that was lost stays so."""

_KNOT_FRAMES = 12
"""Frames in which the slow error becomes another."""


@dataclass(frozen=True)
class Detector:
    """Errors of a detector, in pixels."""

    wander: float
    """Standard deviation of the slow error."""
    jitter: float
    """Standard deviation of the error that is new in every frame."""
    lost: float
    """Share of the joints that are taken for something else: the other side's joint, or the background."""

    def detect(
        self, pixels: Float64[np.ndarray, "T 17 2"], rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, "T 17 2"], Float64[np.ndarray, "T 17"]]:
        """Detected pixels of joints that are truly at some, and confidences that fall with the error."""
        error = self.wander * _slow_noise(rng, len(pixels)) + self.jitter * rng.normal(size=pixels.shape)
        error = self._lose(error * _EASES[:, None], pixels, rng)
        distance = np.linalg.norm(error, axis=-1)
        confidence = 1.05 * np.exp(-distance / 50) + rng.normal(0.0, 0.02, distance.shape)
        return pixels + error, confidence.clip(0.02, MAX_CONFIDENCE)

    def _lose(
        self,
        error: Float64[np.ndarray, "T 17 2"],
        pixels: Float64[np.ndarray, "T 17 2"],
        rng: np.random.Generator,
    ) -> Float64[np.ndarray, "T 17 2"]:
        """Errors in which some joints are somewhere else for a few frames."""
        begins = rng.random(error.shape[:2]) < self.lost / _LOST_FRAMES
        angles, lengths = rng.uniform(0, 2 * np.pi, begins.shape), rng.uniform(40, 150, begins.shape)
        away = lengths[..., None] * np.stack((np.cos(angles), np.sin(angles)), axis=-1)
        is_swap = (rng.random(begins.shape) < 0.5) & _HAS_SIDE
        jumps = np.where(is_swap[..., None], pixels[:, list(H36M17.mirror)] - pixels, away)
        lost = error.copy()
        for age in reversed(range(min(_LOST_FRAMES, len(error)))):
            first = len(error) - age
            lost[age:] = np.where(begins[:first, :, None], jumps[:first], lost[age:])
        return lost


_HAS_SIDE = np.array(H36M17.mirror) != np.arange(H36M17.num_joints)

_EASES = np.array([_EASE.get(joint.rpartition("_")[2], 1.0) for joint in H36M17.joints])


def _slow_noise(rng: np.random.Generator, num_frames: int) -> Float64[np.ndarray, "T 17 2"]:
    """Noise of standard deviation 1 at its knots, and a straight line between them."""
    knots = rng.normal(size=(num_frames // _KNOT_FRAMES + 2, H36M17.num_joints, 2))
    number, rest = np.divmod(np.arange(num_frames), _KNOT_FRAMES)
    share = (rest / _KNOT_FRAMES)[:, None, None]
    return (1 - share) * knots[number] + share * knots[number + 1]


STACKED_HOURGLASS = Detector(wander=3.0, jitter=1.2, lost=0.01)
"""About 5 pixels off on average, as MotionBERT's detections of Human3.6M."""

CPN = Detector(wander=3.5, jitter=1.5, lost=0.012)
"""A little worse, as VideoPose3D's detections of Human3.6M."""
