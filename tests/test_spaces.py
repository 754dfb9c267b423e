"""Conversions between spaces: by hand, and there and back."""

import pytest
import torch
from torch import Tensor

from langpose_dist.skeleton import H36M17
from langpose_dist.spaces import from_image_25d, limb_lengths, scale_to_person, to_image_25d

WRIST = H36M17.index("left_wrist")


def camera_poses() -> Tensor:
    """All joints at the pelvis, 4 m deep and 1 m to the right, but for a wrist."""
    poses = torch.zeros(1, 1, 17, 3) + torch.tensor([1.0, 0.0, 4.0])
    poses[0, 0, WRIST] = torch.tensor([2.0, -1.0, 5.0])
    return poses


def test_image_25d_by_hand() -> None:
    # Focal length 2: the pelvis is at 2 * 1 / 4 = 0.5, the wrist at 2 * 2 / 5 = 0.8 and -2 * 1 / 5 = -0.4.
    # A half image width spans 4 / 2 = 2 m at the pelvis, so 1 m of depth is 0.5.
    poses = to_image_25d(camera_poses(), torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0]]))
    assert poses[0, 0, WRIST].tolist() == pytest.approx([0.3, -0.4, 0.5])
    assert not poses[0, 0, 0].any()


def test_camera_from_image_25d_by_hand() -> None:
    poses = torch.zeros(1, 1, 17, 3)
    poses[0, 0, WRIST] = torch.tensor([0.3, -0.4, 0.5])
    pelvis, focal_length = torch.tensor([[[1.0, 0.0, 4.0]]]), torch.tensor([[2.0, 2.0]])
    found = from_image_25d(poses, pelvis, focal_length, torch.tensor([[2.0]]))
    assert found[0, 0, WRIST].tolist() == pytest.approx([1.0, -1.0, 1.0])
    assert not found[0, 0, 0].any()


def test_there_and_back_is_the_same_pose() -> None:
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(3, 5, 17, 3, generator=generator, dtype=torch.float64) * 0.4
    pelvis = torch.randn(3, 5, 1, 3, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 0.0, 6.0])
    poses = poses - poses[:, :, :1] + pelvis
    focal_length = torch.tensor([[2.3, 2.2], [1.5, 1.5], [3.0, 2.9]], dtype=torch.float64)
    factor = pelvis[..., 0, 2] / focal_length[:, :1] * 1.01
    back = from_image_25d(to_image_25d(poses, focal_length, factor), pelvis[:, :, 0], focal_length, factor)
    torch.testing.assert_close(back, poses - poses[:, :, :1])


def test_the_two_figures_differ_and_agree_without_perspective() -> None:
    # The wrist is nearer to the camera than the pelvis, so it looks larger than it is.
    near = camera_poses()
    near[0, 0, WRIST] = torch.tensor([2.0, 0.0, 3.0])
    figure = to_image_25d(near, torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0]])) * 2.0
    assert figure[0, 0, WRIST].tolist() == pytest.approx([5 / 3, 0.0, -1.0])  # in truth 1 m to the right
    far = camera_poses() + torch.tensor([0.0, 0.0, 4e4])
    depth = far[:, :, 0, 2]
    figure = to_image_25d(far, torch.tensor([[2.0, 2.0]]), depth / 2) * depth[0, 0] / 2
    assert figure[0, 0, WRIST].tolist() == pytest.approx([1.0, -1.0, 1.0], abs=0.01)


def test_a_figure_is_scaled_to_the_size_of_a_person() -> None:
    poses = torch.zeros(1, 2, 17, 3)
    poses[0, :, WRIST, 0] = torch.tensor([1.0, 3.0])  # the lower arm is the only limb: 1 long, then 3
    assert limb_lengths(poses).sum(dim=-1).tolist() == [[1.0, 3.0]]
    scaled = scale_to_person(poses, 4.0)
    assert scaled[0, :, WRIST, 0].tolist() == [2.0, 6.0]  # one scale for the clip: 4 over the mean of 2
    assert not scale_to_person(torch.zeros(1, 2, 17, 3), 4.0).any()
