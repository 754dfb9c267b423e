"""Errors of 3D poses, under the names the field uses.

``mpjpe`` is also called protocol 1 and ``p_mpjpe`` protocol 2. All work in float64, so the mean over the
windows of N ranks agrees with that of one. Poses are root-relative; nothing is centred except where a
docstring says so. A window's value is the mean over its valid frames and joints, and NaN where it has none.

Arguments: predicted and true joints in metres, on the same axes; a mask that is True for what counts. Where a
docstring names no other unit the result is in metres.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.skeleton import H36M17


def mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean per-joint position error.

    Source:
        Ionescu et al., Human3.6M, TPAMI 2014.
    """
    return _window_mean(_joint_errors(predicted.double(), target.double()), frame_mask)


def p_mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Position error after the best similarity transform of each frame: rotation, translation and scale.

    The transform is the least-squares one and never a mirror image. A predicted frame whose joints all
    coincide is moved to the target's centre; one that is not finite gives NaN.

    Source:
        Umeyama, TPAMI 1991; as protocol 2 of Human3.6M: Martinez et al., ICCV 2017.
    """
    target = target.double()
    return _window_mean(_joint_errors(_align(predicted.double(), target), target), frame_mask)


def n_mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Position error after the best scale of each frame about the root.

    Source:
        Rhodin et al., CVPR 2018.
    """
    predicted, target = predicted.double(), target.double()
    scale = _ratio((predicted * target).sum(dim=(-2, -1)), predicted.square().sum(dim=(-2, -1)))
    return _window_mean(_joint_errors(scale[..., None, None] * predicted, target), frame_mask)


def mpjve(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean per-joint velocity error: that of the differences between neighbouring frames, both valid.

    In metres per frame.

    Source:
        Pavllo et al., CVPR 2019.
    """
    errors = _joint_errors(predicted.double().diff(dim=1), target.double().diff(dim=1))
    return _window_mean(errors, frame_mask[:, 1:] & frame_mask[:, :-1])


def acceleration_error(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean per-joint error of second differences between three neighbouring frames, all valid.

    In metres per frame squared.

    Source:
        Kanazawa et al., HMMR, CVPR 2019.
    """
    errors = _joint_errors(predicted.double().diff(n=2, dim=1), target.double().diff(n=2, dim=1))
    return _window_mean(errors, frame_mask[:, 2:] & frame_mask[:, 1:-1] & frame_mask[:, :-2])


PCK_JOINTS = tuple(H36M17.index(joint) for joint in H36M17.joints if joint not in ("pelvis", "spine", "neck"))
"""The 14 joints that MPI-INF-3DHP's PCK counts: its head top is Human3.6M's head, its neck the thorax."""
PCK_THRESHOLD = 0.150
"""Metres."""
AUC_THRESHOLDS = tuple(mm / 1000 for mm in range(0, 151, 5))
"""Metres; no error is strictly below the first of the 31, so a perfect result has 30/31, or 96.77 %."""


def pck_3dhp(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Share of 14 joints whose error is strictly below 150 mm, in percent.

    Source:
        Mehta et al., 3DV 2017, ``mpii_compute_3d_pck.m``.
    """
    return _share_below(predicted, target, frame_mask, (PCK_THRESHOLD,))


def auc_3dhp(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean of such shares over 31 thresholds from 0 to 150 mm, in percent; at most 96.77.

    Source:
        As ``pck_3dhp``.
    """
    return _share_below(predicted, target, frame_mask, AUC_THRESHOLDS)


def joint_mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], joint_mask: Bool[Tensor, "B T J"]
) -> Float[Tensor, "B"]:
    """Mean position error over the joints in the mask; metres, float64, NaN where there are none."""
    errors = (predicted.double() - target.double()).norm(dim=-1)
    return torch.where(joint_mask, errors, 0.0).sum(dim=(1, 2)) / joint_mask.sum(dim=(1, 2))


def _share_below(
    predicted: Float[Tensor, "B T J 3"],
    target: Float[Tensor, "B T J 3"],
    frame_mask: Bool[Tensor, "B T"],
    thresholds: Sequence[float],
) -> Float[Tensor, "B"]:
    joints = list(PCK_JOINTS)
    errors = (predicted.double() - target.double())[:, :, joints].norm(dim=-1)
    below = torch.stack([errors < threshold for threshold in thresholds]).double()
    return 100 * _window_mean(below.mean(dim=(0, -1)), frame_mask)


def _joint_errors(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"]
) -> Float[Tensor, "B T"]:
    return (predicted - target).norm(dim=-1).mean(dim=-1)


def _window_mean(errors: Float[Tensor, "B T"], frame_mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B"]:
    # where, not a product: what padding holds must not count, even if it is not finite.
    return torch.where(frame_mask, errors, 0.0).sum(dim=1) / frame_mask.sum(dim=1)


def _align(predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
    # The decomposition raises on values that are not finite: take such frames out and put them back as NaN.
    finite = predicted.isfinite().all(dim=(-2, -1), keepdim=True) & target.isfinite().all(
        dim=(-2, -1), keepdim=True
    )
    centre = target.mean(dim=-2, keepdim=True)
    shape = torch.where(finite, predicted - predicted.mean(dim=-2, keepdim=True), 0.0)
    goal = torch.where(finite, target - centre, 0.0)

    u, singular_values, vh = torch.linalg.svd(shape.mT @ goal)
    # The smallest singular direction is turned over where the best orthogonal map would be a mirror.
    sign = torch.ones_like(singular_values)
    sign[..., -1] = torch.linalg.det(u @ vh).sign()
    rotation = u @ (sign[..., None] * vh)
    scale = _ratio((sign * singular_values).sum(dim=-1), shape.square().sum(dim=(-2, -1)))
    aligned = scale[..., None, None] * shape @ rotation + centre
    return torch.where(finite, aligned, torch.nan)


def _ratio(numerator: Float[Tensor, "B T"], denominator: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    # A pose of size 0 has no scale; 0 leaves it where it is.
    return torch.where(denominator > 0, numerator / denominator, 0.0)
