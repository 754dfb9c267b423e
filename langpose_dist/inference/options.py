"""Options of lifting."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from langpose_dist.config import UserError
from langpose_dist.detections.track import Tracks
from langpose_dist.inference.picture import Normalisation, share_outside

DEFAULT_NORMALISATION: Normalisation = "box"
"""By measurement, see docs/inference.md."""

FPS_RANGE = (1.0, 1000.0)
FOCAL_LENGTH_RANGE = (0.1, 100.0)
"""In larger sides of the picture; a lens for whole rooms has 0.5, a long one for sports 20."""
MAX_SMOOTHING_S = 10.0


@dataclass(frozen=True, kw_only=True)
class LiftOptions:
    """Options of lifting."""

    fps: float | None = None
    """Frames per second of the video; default: as the file says."""
    size: tuple[int, int] | None = None
    """Width and height of the picture in pixels; default: as the file says."""
    normalisation: Normalisation = DEFAULT_NORMALISATION
    height: float | None = None
    """Of the person, metres; default: as the people that the model was trained on."""
    focal_length: float | None = None
    """Of the camera, pixels; with it the path of the pelvis is estimated too."""
    smoothing: float | None = None
    """Length of the smoothing window, seconds; default: none."""
    flip_averaging: bool = False
    """Lift each window twice, once mirrored."""

    def completed(self, tracks: Tracks) -> Self:
        """The options with rate and size of the video as its file says them.

        Raises:
            UserError: If they are needed, and neither the file nor the user says them; or if one is no
                video's.
        """
        fps, size = self.fps or tracks.fps, self.size or tracks.size
        if fps is None:
            raise UserError(
                f"{tracks.detector} does not say how many frames per second the video has; add --fps, such "
                "as --fps 30"
            )
        if size is None and (self.normalisation == "image" or self.focal_length is not None):
            needed_by = "--normalise image" if self.focal_length is None else "--focal-length"
            raise UserError(
                f"{needed_by} needs width and height of the picture, and {tracks.detector} does not say "
                "them; add --size, such as --size 1920x1080"
            )
        self._check_ranges(fps, size)
        if size is not None:
            _check_size(size, tracks)
        return replace(self, fps=fps, size=size)

    def _check_ranges(self, fps: float, size: tuple[int, int] | None) -> None:
        low, high = FPS_RANGE
        if not low <= fps <= high:
            hint = (
                f"; {fps:g} looks like seconds per frame: --fps {1 / fps:g}" if low <= 1 / fps <= high else ""
            )
            raise UserError(f"{fps:g} frames per second are no video's, {low:g} to {high:g} are{hint}")
        if self.focal_length is not None and size is not None:
            low, high = (side * max(size) for side in FOCAL_LENGTH_RANGE)
            if not low <= self.focal_length <= high:
                raise UserError(
                    f"--focal-length {self.focal_length:g} is none of a picture of {size[0]}x{size[1]}, "
                    f"{low:g} to {high:g} pixels are; a lens' millimetres are multiplied by the picture's "
                    "width over the sensor's"
                )
        if self.smoothing is not None and self.smoothing > MAX_SMOOTHING_S:
            raise UserError(
                f"--smooth {self.smoothing:g} seconds wipe all motion out; {MAX_SMOOTHING_S:g} at most, such "
                "as --smooth 0.3"
            )


def _check_size(size: tuple[int, int], tracks: Tracks) -> None:
    middle = np.median(tracks.seen_points, axis=0)
    if share_outside(middle[None], size):
        raise UserError(
            f"the middle joint of all is at {middle[0]:.0f}, {middle[1]:.0f}, outside of a picture of "
            f"{size[0]}x{size[1]}; give its true --size"
        )
