from itertools import combinations

import pytest
import torch
from torch import Tensor

from langpose_dist.losses.pose import (
    angle_loss,
    angle_velocity_loss,
    limb_angles,
    limb_loss,
    limb_variance_loss,
    position_loss,
    scaled_position_loss,
    velocity_loss,
)
from langpose_dist.skeleton import H36M17


def test_position_loss_by_hand_counts_valid_frames_only() -> None:
    target = torch.zeros(2, 3, 2, 3)
    predicted = torch.zeros(2, 3, 2, 3)
    predicted[0, 0, 0] = torch.tensor([3.0, 4.0, 0.0])  # 5 m on one of two joints, one of two valid frames
    predicted[0, 2] = 1e6  # padding
    predicted[1, :, :, 2] = 2.0
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert position_loss(predicted, target, mask).tolist() == pytest.approx([5 / 4, 2.0])


def test_velocity_loss_by_hand_counts_valid_pairs_only() -> None:
    target = torch.zeros(1, 4, 1, 3)
    predicted = torch.zeros(1, 4, 1, 3)
    predicted[0, :, 0, 0] = torch.tensor([0.0, 1.0, 3.0, 1e6])  # steps of 1 and 2, then into padding
    mask = torch.tensor([[True, True, True, False]])
    assert velocity_loss(predicted, target, mask).item() == pytest.approx(1.5)


def test_a_constant_offset_has_no_velocity_loss() -> None:
    target = torch.randn(2, 5, 17, 3, generator=torch.Generator().manual_seed(0))
    loss = velocity_loss(target + 0.25, target, torch.ones(2, 5, dtype=torch.bool))
    assert loss.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_window_of_one_frame_has_zero_velocity_loss_and_a_finite_gradient() -> None:
    predicted = torch.randn(1, 4, 17, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.tensor([[True, False, False, False]])
    loss = velocity_loss(predicted, torch.zeros(1, 4, 17, 3), mask)
    loss.sum().backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_an_exact_prediction_has_a_finite_gradient() -> None:
    predicted = torch.zeros(1, 3, 17, 3, requires_grad=True)
    mask = torch.ones(1, 3, dtype=torch.bool)
    target = torch.zeros(1, 3, 17, 3)
    (position_loss(predicted, target, mask) + velocity_loss(predicted, target, mask)).sum().backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()


def test_padded_frames_get_no_gradient() -> None:
    predicted = torch.randn(1, 3, 17, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    target = torch.zeros(1, 3, 17, 3)
    (position_loss(predicted, target, mask) + velocity_loss(predicted, target, mask)).sum().backward()
    assert predicted.grad is not None
    assert (predicted.grad[0, 2] == 0).all()
    assert (predicted.grad[0, :2] != 0).any()


EVERYWHERE = torch.ones(1, 2, dtype=torch.bool)


def stretched(values: tuple[float, float]) -> Tensor:
    """Two frames with one limb, the left lower arm, of these lengths along x."""
    poses = torch.zeros(1, 2, 17, 3)
    poses[0, :, H36M17.index("left_wrist"), 0] = torch.tensor(values)
    return poses


def test_a_scaled_pose_has_no_scaled_loss_and_the_best_scale_is_least_squares() -> None:
    target = torch.randn(1, 2, 17, 3, generator=torch.Generator().manual_seed(0))
    assert scaled_position_loss(0.3 * target, target, EVERYWHERE).item() == pytest.approx(0, abs=1e-6)
    # Target 1 and 3 along x where 1 and 1 was predicted: the scale is (1 + 3) / (1 + 1) = 2.
    predicted, target = torch.zeros(2, 1, 1, 17, 3)
    predicted[0, 0, :2, 0] = 1.0
    target[0, 0, :2, 0] = torch.tensor([1.0, 3.0])
    loss = scaled_position_loss(predicted, target, torch.ones(1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx((1 + 1) / 17)


def test_nothing_predicted_has_a_finite_scaled_loss_and_gradient() -> None:
    predicted = torch.zeros(1, 2, 17, 3, requires_grad=True)
    loss = scaled_position_loss(predicted, torch.ones(1, 2, 17, 3), EVERYWHERE)
    loss.sum().backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_limb_losses_by_hand() -> None:
    predicted, target = stretched((1.0, 3.0)), stretched((2.0, 2.0))
    # 16 limbs, of which one is wrong by 1 in each frame; its variance around 2 is 1.
    assert limb_loss(predicted, target, EVERYWHERE).item() == pytest.approx(1 / 16)
    assert limb_variance_loss(predicted, EVERYWHERE).item() == pytest.approx(1 / 16)
    assert limb_variance_loss(target, EVERYWHERE).item() == 0
    first = torch.tensor([[True, False]])
    assert limb_variance_loss(predicted, first).item() == 0


def test_angles_by_hand() -> None:
    poses = torch.zeros(1, 1, 17, 3)
    poses[0, 0, H36M17.index("right_knee"), 1] = 1.0  # thigh down
    poses[0, 0, H36M17.index("right_ankle")] = torch.tensor([1.0, 1.0, 0.0])  # shank to the right
    angles = limb_angles(poses)
    thigh, shank = H36M17.bones[1], H36M17.bones[2]
    pairs = [pair for pair in combinations(H36M17.bones, 2) if set(pair[0]) & set(pair[1])]
    assert angles.shape[-1] == len(pairs) == 19
    assert angles[0, 0, pairs.index((thigh, shank))].item() == pytest.approx(torch.pi / 2)


def test_angle_losses_do_not_see_size_and_place() -> None:
    target = torch.randn(1, 2, 17, 3, generator=torch.Generator().manual_seed(1))
    predicted = 2 * target + torch.tensor([1.0, 2.0, 3.0])
    assert angle_loss(predicted, target, EVERYWHERE).item() == pytest.approx(0, abs=1e-3)
    assert angle_velocity_loss(predicted, target, EVERYWHERE).item() == pytest.approx(0, abs=1e-3)
    assert angle_loss(target.roll(1, dims=1), target, EVERYWHERE).item() > 0.1


def test_straight_limbs_have_a_finite_gradient() -> None:
    poses = torch.zeros(1, 2, 17, 3)
    poses[..., 0] = torch.arange(17.0)
    poses.requires_grad_()
    angle_loss(poses, poses.detach() + 1, EVERYWHERE).sum().backward()
    assert poses.grad is not None
    assert poses.grad.isfinite().all()
