"""Position and velocity losses; each gives one value per window, so every window weighs the same."""

from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B"]:
    """Mean over the frames in the mask; 0 for a row without any."""
    weight = mask.to(values.dtype)
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def position_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean distance of joints, over the valid frames of each window; metres.

    Source:
        lambda_3D's term; MPJPE as in Ionescu et al., TPAMI 2014.
    """
    return masked_mean((predicted - target).norm(dim=-1).mean(dim=-1), frame_mask)


def velocity_loss(
    predicted: Float[Tensor, "B T J 3"], target: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B"]:
    """Mean distance of joint velocities, over pairs of neighbouring valid frames; metres per frame.

    Source:
        lambda_v's term; MPJVE as in Pavllo et al., CVPR 2019.
    """
    difference = (predicted - target).diff(dim=1).norm(dim=-1).mean(dim=-1)
    return masked_mean(difference, frame_mask[:, 1:] & frame_mask[:, :-1])
