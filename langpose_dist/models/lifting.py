"""Clips of any length through a model that was trained on windows of one length."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from langpose_dist.geometry import flip_pose
from langpose_dist.keypoints import check_keypoints
from langpose_dist.skeleton import H36M17

_MAX_BATCH = 16


def lift_windows(
    model: Any, keypoints_2d: Float[Tensor, "B T J 3"], *, flip_averaging: bool = False
) -> Float[Tensor, "B T J 3"]:
    """Poses of windows; or their mean with the poses of their mirror images, mirrored back.

    Args:
        model: With a method ``lift_windows``.
        keypoints_2d: On the model's device.
        flip_averaging: Lift each window twice.

    Source:
        Pavllo et al., CVPR 2019.
    """
    poses = model.lift_windows(keypoints_2d)
    if not flip_averaging:
        return poses
    return (poses + flip_pose(model.lift_windows(flip_pose(keypoints_2d, H36M17)), H36M17)) / 2


@torch.inference_mode()
def lift(
    model: Any, keypoints_2d: Float[Tensor, "B T J 3"], num_frames: int, *, flip_averaging: bool = False
) -> Float[Tensor, "B T J 3"]:
    """Lift clips of any length to 3D, window by window.

    Windows do not overlap, but for the last one, which ends with the clip; of it only the frames are taken
    that no window before it covers. A clip shorter than a window is padded at its end by repeating the last
    frame, and the padding is cut off again.

    Args:
        model: With a method ``lift_windows``; runs in evaluation mode and is left in the mode it was in.
        keypoints_2d: x, y in half image widths from the centre, y down, and confidence; on any device.
        num_frames: Window length that the model was trained with.
        flip_averaging: Lift each window twice; see ``lift_windows``.

    Returns:
        Poses in the model's space; float32, on the device of the input.

    Raises:
        ValueError: If the clips break the contract of ``check_keypoints``.
    """
    check_keypoints(keypoints_2d)
    length = keypoints_2d.shape[1]
    if length < num_frames:
        last = keypoints_2d[:, -1:].expand(-1, num_frames - length, -1, -1)
        keypoints_2d = torch.cat((keypoints_2d, last), dim=1)
    num_whole, num_left = divmod(keypoints_2d.shape[1], num_frames)
    whole = keypoints_2d[:, : num_whole * num_frames].unflatten(1, (num_whole, num_frames))
    poses = lift_in_batches(model, whole.flatten(0, 1), flip_averaging=flip_averaging)
    poses = poses.unflatten(0, whole.shape[:2]).flatten(1, 2)
    if num_left:
        tail = lift_in_batches(model, keypoints_2d[:, -num_frames:], flip_averaging=flip_averaging)
        poses = torch.cat((poses, tail[:, -num_left:]), dim=1)
    return poses[:, :length]


@torch.inference_mode()
def lift_in_batches(
    model: Any,
    windows: Float[Tensor, "N T J 3"],
    *,
    flip_averaging: bool = False,
    autocast: torch.dtype | None = None,
) -> Float[Tensor, "N T J 3"]:
    """Poses of any number of windows, a few at a time, on the device of the input.

    Args:
        model: As for ``lift``.
        windows: 2D keypoints, on any device.
        flip_averaging: As for ``lift``.
        autocast: Type of the activations; ``None`` for float32.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            parts = [
                lift_windows(model, part.to(device), flip_averaging=flip_averaging).to(part)
                for part in windows.split(_MAX_BATCH)
            ]
    finally:
        model.train(was_training)
    return torch.cat(parts)
