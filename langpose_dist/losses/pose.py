"""Losses of 3D poses; each gives one value per window, so every window weighs the same."""

from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.skeleton import H36M17
from langpose_dist.spaces import limb_lengths

_NEIGHBOURS = [pair for pair in combinations(H36M17.bones, 2) if set(pair[0]) & set(pair[1])]
"""Pairs of limbs that share a joint; MotionBERT's list has all of them but neck and left shoulder."""
_MAX_COSINE = 1 - 1e-6
"""Where the angle still has a gradient in float32."""


def masked_mean(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B"]:
    """Mean over the frames in the mask; 0 for a row without any."""
    weight = mask.to(values.dtype)
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def position_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean distance of joints, over the valid frames of each window; in the poses' unit.

    Source:
        lambda_3D's term; MPJPE as in Ionescu et al., TPAMI 2014.
    """
    return masked_mean((predicted - target).norm(dim=-1).mean(dim=-1), frame_mask)


def velocity_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean distance of joint velocities, over pairs of neighbouring valid frames; unit per frame.

    Source:
        lambda_v's term; MPJVE as in Pavllo et al., CVPR 2019.
    """
    difference = (predicted - target).diff(dim=1).norm(dim=-1).mean(dim=-1)
    return masked_mean(difference, frame_mask[:, 1:] & frame_mask[:, :-1])


def scaled_position_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Position loss after the best scale of each frame about the pelvis; in the poses' unit.

    Source:
        N-MPJPE, Rhodin et al., CVPR 2018.
    """
    size = predicted.square().sum(dim=(-2, -1), keepdim=True)
    scale = (predicted * target).sum(dim=(-2, -1), keepdim=True) / size.clamp(min=1e-12)
    return position_loss(scale * predicted, target, frame_mask)


def limb_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean absolute error of limb lengths; in the poses' unit.

    Source:
        Zhu et al., MotionBERT, ICCV 2023, where it is off.
    """
    error = (limb_lengths(predicted) - limb_lengths(target)).abs()
    return masked_mean(error.mean(dim=-1), frame_mask)


def limb_variance_loss(
    predicted: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean variance over time of predicted limb lengths; in the square of the poses' unit.

    Source:
        As ``limb_loss``.
    """
    lengths = limb_lengths(predicted)
    weight = frame_mask[..., None].to(lengths.dtype)
    count = weight.sum(dim=1, keepdim=True).clamp(min=1)
    mean = (lengths * weight).sum(dim=1, keepdim=True) / count
    return masked_mean((lengths - mean).square().mean(dim=-1), frame_mask)


def angle_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean absolute error of the angles between limbs that share a joint; radians.

    Source:
        As ``limb_loss``.
    """
    error = (limb_angles(predicted) - limb_angles(target)).abs()
    return masked_mean(error.mean(dim=-1), frame_mask)


def angle_velocity_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean absolute error of those angles' change from frame to frame; radians per frame.

    Source:
        As ``limb_loss``.
    """
    error = (limb_angles(predicted).diff(dim=1) - limb_angles(target).diff(dim=1)).abs()
    return masked_mean(error.mean(dim=-1), frame_mask[:, 1:] & frame_mask[:, :-1])


def limb_angles(poses: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T A"]:
    """Angles between the directions, from parent to child, of limbs that share a joint; radians."""
    first, second = (
        torch.stack([poses[..., child, :] - poses[..., parent, :] for parent, child in limbs], dim=-2)
        for limbs in zip(*_NEIGHBOURS, strict=True)
    )
    cosine = torch.cosine_similarity(first, second, dim=-1)
    return cosine.clamp(-_MAX_COSINE, _MAX_COSINE).acos()
