import pytest
import torch

from langpose_dist.losses.pose import position_loss, velocity_loss


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
