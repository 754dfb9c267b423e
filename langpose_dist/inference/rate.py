"""Frames of the video and frames of the model, which may count time at another rate.

Frames of the model are counted from the video's first frame, not from a track's: a track that is cut
elsewhere has the same ones.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
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
        values, start = self.values_to_model(keypoints, first)
        if not self.are_same:
            before, after, _ = self._neighbours(len(keypoints), first)
            values[..., 2] *= (keypoints[before, :, 2] > 0) & (keypoints[after, :, 2] > 0)
        return values, start

    def values_to_model(
        self, values: Float[np.ndarray, "T *C"], first: int
    ) -> tuple[Float[np.ndarray, "S *C"], int]:
        """Values at the frames of the model, by straight lines in time; and the number of the first.

        Args:
            values: At consecutive frames of the video.
            first: Number of the first of them.
        """
        start, _ = self.model_frames(first, len(values))
        if self.are_same:
            return values, start
        before, after, share = self._neighbours(len(values), first)
        share = share.reshape(-1, *[1] * (values.ndim - 1))
        return ((1 - share) * values[before] + share * values[after]).astype(np.float32), start

    def _neighbours(
        self, num_frames: int, first: int
    ) -> tuple[Int[np.ndarray, "S"], Int[np.ndarray, "S"], Float[np.ndarray, "S"]]:
        """Frames of the video before and after each frame of the model, and its share of the way between."""
        places = np.arange(*self.model_frames(first, num_frames)) * (self.video / self.model) - first
        places = places.clip(0, num_frames - 1)
        before = places.astype(np.int64)
        share = places - before
        return before, np.where(share > 0, before + 1, before), share

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
