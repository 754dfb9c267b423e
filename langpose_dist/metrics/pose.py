"""Position and velocity errors of 3D poses, under the names the field uses.

``mpjpe`` is also called protocol 1 and ``p_mpjpe`` protocol 2. All work in float64, so the mean over the
windows of N ranks agrees with that of one. Poses are root-relative; nothing is centred except where a
docstring says so. A window's value is the mean over its valid frames and joints, and NaN where it has none.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean per-joint position error.

    Args:
        predicted: Joints in metres.
        target: Joints in metres, on the same axes.
        frame_mask: True for frames that count.

    Returns:
        Metres, float64.

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

    Args:
        predicted: Joints in metres.
        target: Joints in metres.
        frame_mask: True for frames that count.

    Returns:
        Metres, float64.

    Source:
        Umeyama, TPAMI 1991; as protocol 2 of Human3.6M: Martinez et al., ICCV 2017.
    """
    target = target.double()
    return _window_mean(_joint_errors(_align(predicted.double(), target), target), frame_mask)


def n_mpjpe(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Position error after the best scale of each frame about the root.

    Args:
        predicted: Joints in metres.
        target: Joints in metres, on the same axes.
        frame_mask: True for frames that count.

    Returns:
        Metres, float64.

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

    Args:
        predicted: Joints in metres.
        target: Joints in metres, on the same axes.
        frame_mask: True for frames that count.

    Returns:
        Metres per frame, float64.

    Source:
        Pavllo et al., CVPR 2019.
    """
    errors = _joint_errors(predicted.double().diff(dim=1), target.double().diff(dim=1))
    return _window_mean(errors, frame_mask[:, 1:] & frame_mask[:, :-1])


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
