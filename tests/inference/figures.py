"""A standing figure, tracks of it, and models whose answer is known."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from langpose_dist.config import Space
from langpose_dist.detections.track import Track, Tracks
from langpose_dist.inference.model import LiftingModel

# x to the right in the picture, y down, metres; the person faces the camera.
STANDING = {
    "pelvis": (0, 0),
    "right_hip": (-0.13, 0),
    "right_knee": (-0.13, 0.44),
    "right_ankle": (-0.13, 0.89),
    "left_hip": (0.13, 0),
    "left_knee": (0.13, 0.44),
    "left_ankle": (0.13, 0.89),
    "spine": (0, -0.23),
    "thorax": (0, -0.49),
    "neck": (0, -0.61),
    "head": (0, -0.73),
    "left_shoulder": (0.15, -0.49),
    "left_elbow": (0.15, -0.21),
    "left_wrist": (0.15, 0.04),
    "right_shoulder": (-0.15, -0.49),
    "right_elbow": (-0.15, -0.21),
    "right_wrist": (-0.15, 0.04),
}
FIGURE = np.array(list(STANDING.values()), np.float64)


def standing(
    num_frames: int, pixels_per_metre: float = 400.0, centre: tuple[float, float] = (500, 500)
) -> Any:
    """Keypoints of a figure that stands still but for a waving right wrist, in pixels."""
    places = np.tile(FIGURE, (num_frames, 1, 1))
    places[:, -1, 0] += 0.1 * np.sin(np.arange(num_frames) / 5)
    keypoints = np.ones((num_frames, 17, 3), np.float32)
    keypoints[..., :2] = places * pixels_per_metre + centre
    return keypoints


def tracks_of(
    keypoints: np.ndarray,
    *,
    first_frame: int = 0,
    fps: float | None = 30.0,
    size: tuple[int, int] | None = (1000, 1000),
) -> Tracks:
    """One person; joints of confidence 0 are not seen."""
    track = Track("0", first_frame, keypoints, keypoints[..., 2] > 0)
    return Tracks(
        (track,), first_frame + len(keypoints), fps, size, "made", "h36m17", {"frames": len(keypoints)}
    )


class Flat(nn.Module):
    """Answers with the picture itself: x and y of its input, z 0."""

    def __init__(self, limb_total: float | None = None) -> None:
        super().__init__()
        self.limb_total = limb_total
        self.weight = nn.Parameter(torch.ones(1))

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        """Poses of windows."""
        return torch.cat((keypoints_2d[..., :2], torch.zeros_like(keypoints_2d[..., 2:])), dim=-1)


class Averaging(Flat):
    """Answers with what it sees in the mean over the window: each window's answer differs."""

    def lift_windows(self, keypoints_2d: Tensor) -> Tensor:
        """Poses of windows."""
        return super().lift_windows(keypoints_2d.mean(dim=1, keepdim=True).expand_as(keypoints_2d))


def lifting_model(
    model: nn.Module, *, space: Space = "image_25d", num_frames: int = 9, fps: float = 30.0
) -> LiftingModel:
    """A model as inference takes it."""
    return LiftingModel("made", model.eval(), space, num_frames, fps, None, {"weights_sha256": "0"})
