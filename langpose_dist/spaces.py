"""Spaces that a pose can live in, and the way from one to another.

``camera``: pinhole camera axes (x right, y down, z forward), metres, pelvis at 0; VideoPose3D's evaluation.

``image_25d``: x and y as in the picture, in half image widths, and z in the same unit, pelvis at 0;
MotionBERT's training target. One factor per frame, the metres that a half image width spans at the pelvis,
turns it into a figure in metres as a camera without perspective sees it. The two figures of one pose differ
by 10 to 31 mm, so a number of one space never stands beside one of the other.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from langpose_dist.skeleton import H36M17

_UPPER, _LOWER = (list(ends) for ends in zip(*H36M17.bones, strict=True))


def to_image_25d(
    camera_poses: Float[Tensor, "B T J 3"], focal_length: Float[Tensor, "B 2"], factor: Float[Tensor, "B T"]
) -> Float[Tensor, "B T J 3"]:
    """Pelvis-relative poses of ``image_25d`` from joints in camera axes.

    Args:
        camera_poses: Metres, origin at the camera.
        focal_length: Along x and y, in half image widths.
        factor: Metres per half image width at the pelvis of each frame.

    Source:
        LCN, Ci et al., ICCV 2019, whose preparation MotionBERT trains on.
    """
    projected = camera_poses[..., :2] * focal_length[:, None, None] / camera_poses[..., 2:]
    depth = camera_poses[..., 2:] / factor[..., None, None]
    poses = torch.cat((projected, depth), dim=-1)
    return poses - poses[:, :, :1]


def from_image_25d(
    poses: Float[Tensor, "B T J 3"],
    pelvis: Float[Tensor, "B T 3"],
    focal_length: Float[Tensor, "B 2"],
    factor: Float[Tensor, "B T"],
) -> Float[Tensor, "B T J 3"]:
    """Pelvis-relative poses in camera axes from those of ``image_25d``; the inverse of ``to_image_25d``.

    Args:
        poses: Half image widths, pelvis at 0.
        pelvis: In camera axes, metres, origin at the camera: what one picture does not tell.
        focal_length: Along x and y, in half image widths.
        factor: Metres per half image width at the pelvis of each frame.
    """
    depth = pelvis[:, :, None, 2:] + poses[..., 2:] * factor[..., None, None]
    focal_length = focal_length[:, None, None]
    image = poses[..., :2] + pelvis[:, :, None, :2] * focal_length / pelvis[:, :, None, 2:]
    camera_poses = torch.cat((image * depth / focal_length, depth), dim=-1)
    return camera_poses - pelvis[:, :, None]


def limb_lengths(poses: Float[Tensor, "*B T J 3"]) -> Float[Tensor, "*B T L"]:
    """Lengths of the skeleton's 16 limbs, in the poses' unit."""
    return (poses[..., _LOWER, :] - poses[..., _UPPER, :]).norm(dim=-1)


def scale_to_person(poses: Float[Tensor, "B T J 3"], limb_total: float) -> Float[Tensor, "B T J 3"]:
    """Figures of a person of known size: one scale per clip, by the sum of all limb lengths.

    A picture does not tell how large a person is. The sum is a mean over the clip's frames, so a person does
    not grow and shrink with a prediction's errors.

    Args:
        poses: Pelvis-relative, in any unit.
        limb_total: Sum of the person's limb lengths, metres.

    Returns:
        Metres; a figure without any extent stays one.
    """
    total = limb_lengths(poses).sum(dim=-1).mean(dim=-1)
    return poses * (limb_total / total.clamp(min=1e-9))[:, None, None, None]
