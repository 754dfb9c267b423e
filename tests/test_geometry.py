import math
from dataclasses import fields
from typing import Any

import pytest
import torch

from langpose_dist.batch import WindowBatch
from langpose_dist.config import CameraConfig, NoiseConfig
from langpose_dist.geometry import (
    camera_rotation,
    detect,
    flip_pose,
    observe,
    place_camera,
    project,
)
from langpose_dist.skeleton import H36M17


def standing(num_frames: int = 4) -> torch.Tensor:
    """A crude figure 1.7 m tall, facing the world's -y axis: its left is at +x."""
    heights = {"hip": 0.9, "knee": 0.5, "ankle": 0.1, "shoulder": 1.4, "elbow": 1.1, "wrist": 0.9}
    middle = {"pelvis": 0.9, "spine": 1.15, "thorax": 1.4, "neck": 1.5, "head": 1.7}
    pose = torch.zeros(17, 3)
    for index, joint in enumerate(H36M17.joints):
        side, _, part = joint.rpartition("_")
        pose[index, 2] = heights[part] if side else middle[part]
        pose[index, 0] = {"left": 0.2, "right": -0.2, "": 0.0}[side]
    return pose.expand(1, num_frames, 17, 3).clone()


def windows(poses: torch.Tensor, **changes: Any) -> WindowBatch:
    """A batch whose draws change nothing: camera in front of the figure, no error, nothing hidden."""
    batch, num_frames = poses.shape[:2]
    draws: dict[str, Any] = {
        "frame_mask": torch.ones(batch, num_frames, dtype=torch.bool),
        "span_mask": torch.ones(batch, num_frames, dtype=torch.bool),
        "label_candidates": torch.zeros(batch, 3, dtype=torch.int64),
        "labels_beside": torch.zeros(batch, 0, dtype=torch.int64),
        "flip": torch.zeros(batch, dtype=torch.bool),
        "camera": torch.tensor([[-math.pi / 2, 0.0, 5.0, 2.0]]).expand(batch, 4),
        "noise_keyframes": torch.zeros(batch, 2, 17, 2),
        "noise_jitter": torch.zeros(batch, num_frames, 17, 3),
        "joint_mask": torch.zeros(batch, num_frames, 17, dtype=torch.bool),
        "positions": torch.arange(batch),
    }
    return WindowBatch(poses_3d=poses, keys=("clip:0",) * batch, **(draws | changes))


def test_flip_sends_the_left_wrist_to_the_right_wrist() -> None:
    poses = torch.zeros(1, 1, 17, 3)
    poses[0, 0, H36M17.index("left_wrist")] = torch.tensor([0.5, 0.25, 2.0])
    flipped = flip_pose(poses, H36M17)
    assert flipped[0, 0, H36M17.index("right_wrist")].tolist() == [-0.5, 0.25, 2.0]
    assert flip_pose(flipped, H36M17).equal(poses)


def test_flip_refuses_another_skeleton() -> None:
    with pytest.raises(ValueError, match="16 joints, skeleton has 17"):
        flip_pose(torch.zeros(1, 1, 16, 3), H36M17)


def test_a_camera_axis_is_a_proper_rotation() -> None:
    generator = torch.Generator().manual_seed(0)
    rotation = camera_rotation(torch.randn(8, generator=generator) * 3, torch.randn(8, generator=generator))
    identity = torch.eye(3).expand(8, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(8))


def test_camera_axes_point_right_down_and_forward() -> None:
    # On the world's x axis, at the horizon: it looks along -x, its right is +y, its down is -z.
    rotation = camera_rotation(torch.zeros(1), torch.zeros(1))[0]
    torch.testing.assert_close(rotation, torch.tensor([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]))


def test_from_above_the_head_is_nearer_than_the_feet() -> None:
    camera = torch.tensor([[0.7, math.radians(30), 5.0, 2.0]])
    poses = place_camera(standing(), torch.ones(1, 4, dtype=torch.bool), camera)
    assert poses[0, 0, H36M17.index("head"), 2] < poses[0, 0, H36M17.index("left_ankle"), 2]


def test_a_person_facing_the_camera_has_the_left_hand_on_the_images_right() -> None:
    seen = observe(windows(standing()), CameraConfig(), NoiseConfig())
    left, right = H36M17.index("left_wrist"), H36M17.index("right_wrist")
    assert seen.keypoints_2d[0, 0, left, 0] > 0.05 > -0.05 > seen.keypoints_2d[0, 0, right, 0]
    assert seen.keypoints_2d[0, 0, H36M17.index("head"), 1] < 0 < seen.keypoints_2d[0, 0, 3, 1]


def test_observed_pose_by_hand() -> None:
    seen = observe(windows(standing()), CameraConfig(), NoiseConfig())
    wrist = H36M17.index("left_wrist")
    # The wrist is 0.2 m to the person's left, at pelvis height; camera 5 m away, focal length 2.
    assert seen.poses_3d[0, 0, wrist].tolist() == pytest.approx([0.2, 0.0, 0.0], abs=1e-6)
    assert seen.keypoints_2d[0, 0, wrist].tolist() == pytest.approx([2 * 0.2 / 5, 0.0, 1.0], abs=1e-6)
    assert (seen.poses_3d[:, :, 0] == 0).all()


def test_perspective_and_orthographic_agree_at_the_persons_depth_only() -> None:
    poses = torch.zeros(1, 1, 17, 3)
    poses[..., 2] = 5.0
    poses[0, 0, 1] = torch.tensor([1.0, 0.0, 5.0])
    poses[0, 0, 2] = torch.tensor([1.0, 0.0, 4.0])
    near, _ = project(poses, torch.tensor([2.0]), orthographic=False)
    flat, _ = project(poses, torch.tensor([2.0]), orthographic=True)
    assert near[0, 0, 1].tolist() == pytest.approx(flat[0, 0, 1].tolist())
    assert near[0, 0, 2, 0].item() == pytest.approx(0.5)
    assert flat[0, 0, 2, 0].item() == pytest.approx(0.4)


@pytest.mark.parametrize("projection", ["perspective", "orthographic"])
def test_a_motion_that_travels_stays_in_the_image(projection: str) -> None:
    poses = standing(50)
    poses[0, :, :, 0] += torch.linspace(-6, 6, 50)[:, None]
    for yaw in torch.linspace(-3, 3, 7):
        camera = torch.tensor([[yaw, 0.4, 3.0, 3.0]])
        seen = observe(
            windows(poses, camera=camera),
            CameraConfig.model_validate({"projection": projection}),
            NoiseConfig(),
        )
        assert seen.keypoints_2d[..., :2].abs().max() <= 1


def test_padding_does_not_move_the_camera() -> None:
    mask = torch.tensor([[True, True, False, False]])
    moved = standing()
    moved[:, 2:] += 100
    camera = torch.tensor([[0.3, 0.1, 5.0, 2.0]])
    torch.testing.assert_close(
        place_camera(moved, mask, camera)[:, :2], place_camera(standing(), mask, camera)[:, :2]
    )


def test_confidence_halves_at_the_stated_distance() -> None:
    keyframes = torch.zeros(1, 2, 17, 2)
    keyframes[..., 0] = 0.1
    seen = detect(
        torch.zeros(1, 3, 17, 2), torch.full((1, 3, 1, 1), 0.5), keyframes, torch.zeros(1, 3, 17, 3), 0.1
    )
    assert seen[0, 1, 5].tolist() == pytest.approx([0.05, 0.0, 0.5])


def test_slow_error_is_linear_between_keyframes() -> None:
    keyframes = torch.zeros(1, 2, 17, 2)
    keyframes[0, 1, 4, 1] = 1.0
    seen = detect(torch.zeros(1, 5, 17, 2), torch.ones(1, 5, 1, 1), keyframes, torch.zeros(1, 5, 17, 3), 0.1)
    assert seen[0, :, 4, 1].tolist() == pytest.approx([0.0, 0.25, 0.5, 0.75, 1.0])
    assert seen[0, :, 3].abs().sum() == pytest.approx(5)  # untouched joints: confidence 1, error 0


def test_hidden_joints_are_zero_in_position_and_confidence() -> None:
    joint_mask = torch.zeros(1, 4, 17, dtype=torch.bool)
    joint_mask[0, 2, 10] = True
    seen = observe(windows(standing(), joint_mask=joint_mask), CameraConfig(), NoiseConfig())
    assert (seen.keypoints_2d[0, 2, 10] == 0).all()
    assert (seen.keypoints_2d[0, 1, 10] != 0).any()
    assert (seen.poses_3d[0, 2, 10] != 0).any()


def test_the_mirrored_motion_seen_from_the_mirrored_camera_is_the_mirrored_image() -> None:
    poses = standing()
    poses[0, :, H36M17.index("right_wrist")] += torch.tensor([0.1, -0.3, 0.4])
    plain = observe(windows(poses), CameraConfig(), NoiseConfig())
    mirrored = observe(windows(poses, flip=torch.tensor([True])), CameraConfig(), NoiseConfig())
    torch.testing.assert_close(mirrored.poses_3d, flip_pose(plain.poses_3d, H36M17))
    torch.testing.assert_close(mirrored.keypoints_2d[..., :2], flip_pose(plain.keypoints_2d[..., :2], H36M17))


FRONT = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""Rotation of a level camera that looks along the world's y axis."""


def recorded(poses: torch.Tensor, keypoints: torch.Tensor, **changes: torch.Tensor) -> WindowBatch:
    return windows(poses, keypoints_2d=keypoints, rotation=FRONT.expand(len(poses), 3, 3), **changes)


def test_stored_keypoints_are_the_input_and_the_target_is_in_their_cameras_axes() -> None:
    poses = standing()
    poses[..., 0] += 3  # anywhere in the world
    poses[0, :, H36M17.index("left_wrist")] += torch.tensor([0.1, -0.3, 0.4])
    keypoints = torch.rand(1, 4, 17, 3, generator=torch.Generator().manual_seed(0))
    seen = observe(recorded(poses, keypoints), CameraConfig(), NoiseConfig())
    assert seen.keypoints_2d.equal(keypoints)
    # The wrist: 0.3 to the figure's left of the pelvis, 0.3 nearer to the camera, 0.4 higher.
    wrist = seen.poses_3d[0, 0, H36M17.index("left_wrist")]
    assert wrist.tolist() == pytest.approx([0.3, -0.4, -0.3], abs=1e-6)
    assert (seen.poses_3d[:, :, 0] == 0).all()


def test_both_kinds_of_2d_input_give_the_same_target_from_the_same_side() -> None:
    poses = standing()
    virtual = observe(windows(poses), CameraConfig(), NoiseConfig())
    stored = observe(recorded(poses, virtual.keypoints_2d), CameraConfig(), NoiseConfig())
    for field in fields(virtual):
        one, other = getattr(virtual, field.name), getattr(stored, field.name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_stored_keypoints_are_mirrored_with_the_motion() -> None:
    poses, keypoints = standing(), torch.zeros(1, 4, 17, 3)
    poses[0, :, H36M17.index("right_wrist")] += torch.tensor([0.1, -0.3, 0.4])
    keypoints[0, :, H36M17.index("right_wrist")] = torch.tensor([-0.25, -0.5, 0.75])
    plain = observe(recorded(poses, keypoints), CameraConfig(), NoiseConfig())
    mirrored = observe(recorded(poses, keypoints, flip=torch.tensor([True])), CameraConfig(), NoiseConfig())
    assert mirrored.keypoints_2d[0, 0, H36M17.index("left_wrist")].tolist() == [0.25, -0.5, 0.75]
    assert mirrored.poses_3d.equal(flip_pose(plain.poses_3d, H36M17))


def test_stored_keypoints_are_hidden_like_others() -> None:
    joint_mask = torch.zeros(1, 4, 17, dtype=torch.bool)
    joint_mask[0, 2, 10] = True
    seen = observe(
        recorded(standing(), torch.ones(1, 4, 17, 3), joint_mask=joint_mask), CameraConfig(), NoiseConfig()
    )
    assert seen.keypoints_2d.sum() == 3 * (4 * 17 - 1)
    assert (seen.keypoints_2d[0, 2, 10] == 0).all()
