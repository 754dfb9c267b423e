"""Mirroring, the virtual camera and synthetic 2D detections: pure functions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import CameraConfig, NoiseConfig, Space
from langpose_dist.skeleton import H36M17, Skeleton
from langpose_dist.spaces import to_image_25d


def flip_pose(poses: Float[Tensor, "*B T J C"], skeleton: Skeleton) -> Float[Tensor, "*B T J C"]:
    """Mirror poses: swap paired joints, negate x.

    Args:
        poses: 2D or 3D joints, x in channel 0, mirror plane at x = 0; any unit.
        skeleton: Its mirror pairs are swapped.

    Returns:
        New tensor, same unit.

    Raises:
        ValueError: If J differs from ``skeleton.num_joints``.

    Source:
        Pavllo et al., CVPR 2019.
    """
    if poses.shape[-2] != skeleton.num_joints:
        raise ValueError(f"flip_pose: {poses.shape[-2]} joints, skeleton has {skeleton.num_joints}")
    mirrored = _rearrange(poses, skeleton.mirror)
    return torch.cat((-mirrored[..., :1], mirrored[..., 1:]), dim=-1)


def _rearrange(poses: Float[Tensor, "*B J C"], order: Sequence[int]) -> Float[Tensor, "*B J C"]:
    """Joints in another order, joined from its runs: a table of indices would have to go to the device."""
    starts = [place for place in range(len(order)) if place == 0 or order[place] != order[place - 1] + 1]
    ends = [*starts[1:], len(order)]
    runs = [poses[..., order[start] : order[end - 1] + 1, :] for start, end in zip(starts, ends, strict=True)]
    return torch.cat(runs, dim=-2)


def camera_rotation(yaw: Float[Tensor, "B"], elevation: Float[Tensor, "B"]) -> Float[Tensor, "B 3 3"]:
    """Rotation from world axes (z up) to those of a camera that looks at the origin.

    Args:
        yaw: Position of the camera around the vertical axis, radians; 0 is on the world's x axis.
        elevation: Height of the camera above the horizon, radians.

    Returns:
        Rows are the camera's axes in world coordinates: right, down, forward. Right-handed, no roll.
    """
    sin_yaw, cos_yaw, zero = yaw.sin(), yaw.cos(), torch.zeros_like(yaw)
    sin_up, cos_up = elevation.sin(), elevation.cos()
    right = torch.stack((-sin_yaw, cos_yaw, zero), dim=-1)
    forward = torch.stack((-cos_up * cos_yaw, -cos_up * sin_yaw, -sin_up), dim=-1)
    down = torch.linalg.cross(forward, right)
    return torch.stack((right, down, forward), dim=-2)


def place_camera(
    poses_3d: Float[Tensor, "B T J 3"], frame_mask: Bool[Tensor, "B T"], camera: Float[Tensor, "B 4"]
) -> Float[Tensor, "B T J 3"]:
    """Transform joints to the axes of each window's virtual camera.

    The camera looks at the pelvis' mean position. It stands at the drawn distance, or as far back as it
    takes for every joint to stay inside the square image; so no joint is ever behind it.

    Args:
        poses_3d: World coordinates, metres, z up.
        frame_mask: Frames that count.
        camera: Yaw, elevation (radians), distance (metres), focal length (half image widths).

    Returns:
        Camera axes (x right, y down, z forward), metres, origin at the camera.
    """
    yaw, elevation, distance, focal_length = camera.unbind(-1)
    weight = frame_mask.to(poses_3d.dtype)[:, :, None]
    center = (poses_3d[:, :, 0] * weight).sum(1) / weight.sum(1).clamp(min=1)
    centered = poses_3d - center[:, None, None]
    radius = (centered.norm(dim=-1) * weight).amax(dim=(1, 2))
    # A joint at distance r from the centre is at most f * r / (d - r) from the image's middle.
    distance = torch.maximum(distance, radius * (1 + focal_length))
    rotated = torch.einsum("bij,btnj->btni", camera_rotation(yaw, elevation), centered)
    return torch.cat((rotated[..., :2], rotated[..., 2:] + distance[:, None, None, None]), dim=-1)


def project(
    camera_poses: Float[Tensor, "B T J 3"], focal_length: Float[Tensor, "B"], *, orthographic: bool
) -> tuple[Float[Tensor, "B T J 2"], Float[Tensor, "B T 1 1"]]:
    """Project joints in camera axes to the image.

    Args:
        camera_poses: Metres, origin at the camera.
        focal_length: In half image widths.
        orthographic: One scale for the whole window, that of the motion's mean depth.

    Returns:
        x, y in half image widths from the centre, y down; and half image widths per metre at the person.
    """
    pelvis_depth = camera_poses[:, :, :1, 2:]
    if orthographic:
        scale = focal_length[:, None, None, None] / pelvis_depth.mean(dim=1, keepdim=True)
        return camera_poses[..., :2] * scale, scale.expand_as(pelvis_depth)
    focal_length = focal_length[:, None, None, None]
    return camera_poses[..., :2] * focal_length / camera_poses[..., 2:], focal_length / pelvis_depth


def detect(
    projected: Float[Tensor, "B T J 2"],
    scale: Float[Tensor, "B T 1 1"],
    keyframes: Float[Tensor, "B K J 2"],
    jitter: Float[Tensor, "B T J 3"],
    confidence_distance: float,
) -> Float[Tensor, "B T J 3"]:
    """Simulate a 2D detector with the drawn errors.

    Args:
        projected: True image coordinates.
        scale: Image units per metre at the person, so that errors keep their size relative to the body.
        keyframes: Slow error in metres, interpolated linearly in time.
        jitter: Fast error in metres (x, y) and a change of confidence.
        confidence_distance: Metres of error at which the confidence has fallen to one half.

    Returns:
        x, y and confidence in [0, 1]; all zero errors give the true coordinates with confidence 1.
    """
    num_frames = projected.shape[1]
    slow = F.interpolate(keyframes.flatten(2).mT, size=num_frames, mode="linear", align_corners=True)
    error = slow.mT.unflatten(2, keyframes.shape[2:]) + jitter[..., :2]
    confidence = confidence_distance / (confidence_distance + error.norm(dim=-1, keepdim=True))
    confidence = (confidence + jitter[..., 2:]).clamp(0, 1)
    return torch.cat((projected + error * scale, confidence), dim=-1)


def observe(
    windows: WindowBatch, camera: CameraConfig, noise: NoiseConfig, space: Space = "camera"
) -> MotionBatch:
    """Turn stored windows into the model's input and target: mirror, observe in 2D, hide joints.

    Windows with stored 2D joints keep those as input and are seen by their own camera; the others are seen by
    the virtual camera, through a synthetic detector.

    Args:
        windows: World motion with drawn parameters, on any device.
        camera: Kind of the virtual camera's projection.
        noise: Distance at which the synthetic detector's confidence halves.
        space: Of the target.

    Returns:
        The model's input, and the target with the pelvis at 0.

    Raises:
        ValueError: If the target is ``image_25d`` and stored windows come without their camera's lens.
    """
    if windows.keypoints_2d is None or windows.rotation is None:
        keypoints_2d, poses_3d, metres = _observe_virtually(windows, camera, noise, space)
    else:
        keypoints_2d = _flip_where(windows.flip, windows.keypoints_2d)
        poses_3d, metres = _target_recorded(windows, windows.rotation, space)
    return MotionBatch(
        keypoints_2d=keypoints_2d.masked_fill(windows.joint_mask[..., None], 0),
        poses_3d=poses_3d,
        metres=metres,
        frame_mask=windows.frame_mask,
        span_mask=windows.span_mask,
        label_candidates=windows.label_candidates,
    )


def _observe_virtually(
    windows: WindowBatch, camera: CameraConfig, noise: NoiseConfig, space: Space
) -> tuple[Float[Tensor, "B T J 3"], Float[Tensor, "B T J 3"], Float[Tensor, "B T"]]:
    """2D joints as a synthetic detector sees them, target poses, and metres per unit of them."""
    world = _flip_where(windows.flip, windows.poses_3d)
    camera_poses = place_camera(world, windows.frame_mask, windows.camera)
    focal_length = windows.camera[:, 3]
    projected, scale = project(camera_poses, focal_length, orthographic=camera.projection == "orthographic")
    keypoints_2d = detect(
        projected, scale, windows.noise_keyframes, windows.noise_jitter, noise.confidence_distance
    )
    factor = 1 / scale[..., 0, 0]
    if space == "camera":
        return keypoints_2d, camera_poses - camera_poses[:, :, :1], torch.ones_like(factor)
    if camera.projection == "orthographic":
        return keypoints_2d, (camera_poses - camera_poses[:, :, :1]) / factor[..., None, None], factor
    return keypoints_2d, to_image_25d(camera_poses, focal_length[:, None].expand(-1, 2), factor), factor


def _target_recorded(
    windows: WindowBatch, rotation: Float[Tensor, "B 3 3"], space: Space
) -> tuple[Float[Tensor, "B T J 3"], Float[Tensor, "B T"]]:
    """Target poses as the recording camera saw them, and metres per unit of them.

    A mirrored motion is what the same camera sees in a mirror: x changes its sign in the image and in the
    camera's axes alike.
    """
    if space == "camera":
        relative = windows.poses_3d - windows.poses_3d[:, :, :1]
        poses = _flip_where(windows.flip, torch.einsum("bij,btnj->btni", rotation, relative))
        return poses, torch.ones_like(poses[:, :, 0, 0])
    if windows.lens is None:
        raise ValueError("target.space=image_25d needs the lens of the recording camera")
    place, focal_length, pixel = windows.lens.split((3, 2, 1), dim=1)
    poses = torch.einsum("bij,btnj->btni", rotation, windows.poses_3d - place[:, None, None])
    poses = _flip_where(windows.flip, poses)
    # A box of 2 m around the pelvis, which reaches one pixel further: LCN's factor, and so MotionBERT's.
    factor = 1 / (focal_length[:, :1] / poses[:, :, 0, 2] + pixel / 2)
    return to_image_25d(poses, focal_length, factor), factor


def _flip_where(flip: Bool[Tensor, "B"], poses: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
    return torch.where(flip[:, None, None, None], flip_pose(poses, H36M17), poses)
