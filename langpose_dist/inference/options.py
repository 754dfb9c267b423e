"""What a user can choose about lifting."""

from dataclasses import dataclass, replace
from typing import Self

from langpose_dist.config import UserError
from langpose_dist.detections.track import Tracks
from langpose_dist.inference.picture import Normalisation

DEFAULT_NORMALISATION: Normalisation = "box"
"""By measurement, see docs/inference.md."""


@dataclass(frozen=True, kw_only=True)
class LiftOptions:
    """What a user can choose about lifting."""

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
            UserError: If they are needed, and neither the file nor the user says them.
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
        return replace(self, fps=fps, size=size)
