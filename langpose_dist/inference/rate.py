"""Frames of the video and frames of the model, which may count time at another rate.

Frames of the model are counted from the video's first frame, not from a track's: a track that is cut
elsewhere has the same ones.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.interpolate import Akima1DInterpolator

_SAME_RATE = 0.005
"""Relative difference of rates, such as 29.97 and 30, that is left alone."""
_MARGIN = 1e-6


@dataclass(frozen=True)
class Rates:
    """Frames per second of the video and of the model."""

    video: float
    model: float

    @property
    def are_same(self) -> bool:
        """Each frame of the video is one of the model."""
        return abs(self.model / self.video - 1) <= _SAME_RATE

    def model_frames(self, first: int, num_frames: int) -> tuple[int, int]:
        """First frame of the model, and one past the last, that cover some frames of the video."""
        if self.are_same:
            return first, first + num_frames
        start = np.floor(first / self.video * self.model + _MARGIN)
        last = np.ceil((first + num_frames - 1) / self.video * self.model - _MARGIN)
        return int(start), int(last) + 1

    def to_model(
        self, keypoints: Float[np.ndarray, "T 17 3"], first: int
    ) -> tuple[Float[np.ndarray, "S 17 3"], int]:
        """2D joints at the frames of the model, by straight lines in time.

        Args:
            keypoints: Those of consecutive frames of the video; confidence 0 where a joint was not seen.
            first: Number of the first of them.

        Returns:
            Joints, with confidence 0 unless they are seen in both frames around; and the number of the
            model's first frame.
        """
        start, stop = self.model_frames(first, len(keypoints))
        if self.are_same:
            return keypoints, start
        places = np.arange(start, stop) * (self.video / self.model) - first
        places = places.clip(0, len(keypoints) - 1)
        before = places.astype(np.int64)
        share = (places - before)[:, None, None]
        after = np.where(share[:, 0, 0] > 0, before + 1, before)
        values = (1 - share) * keypoints[before] + share * keypoints[after]
        values[..., 2] *= (keypoints[before, :, 2] > 0) & (keypoints[after, :, 2] > 0)
        return values.astype(np.float32), start

    def to_video(
        self, values: Float[np.ndarray, "S *C"], start: int, first: int, num_frames: int
    ) -> Float[np.ndarray, "T *C"]:
        """Values at the frames of the video, by smooth curves that hang on a few frames around.

        Args:
            values: At consecutive frames of the model.
            start: Number of the first of them.
            first: Number of the first frame of the video that is wanted.
            num_frames: Number of frames that are wanted; ``values`` cover them.

        Source:
            Akima, A New Method of Interpolation and Smooth Curve Fitting, JACM 1970.
        """
        if self.are_same:
            return values
        if len(values) == 1:
            return np.repeat(values, num_frames, axis=0)
        places = (first + np.arange(num_frames)) * (self.model / self.video) - start
        places = places.clip(0, len(values) - 1)
        curve = Akima1DInterpolator(np.arange(len(values)), values, axis=0)
        return curve(places).astype(np.float32)
