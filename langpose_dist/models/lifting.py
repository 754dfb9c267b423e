"""Clips of any length through a model that was trained on windows of one length."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from langpose_dist.keypoints import check_keypoints

_MAX_BATCH = 16


@torch.inference_mode()
def lift(
    model: nn.Module, keypoints_2d: Float[Tensor, "B T J 3"], num_frames: int
) -> Float[Tensor, "B T J 3"]:
    """Lift clips of any length to 3D, window by window.

    Windows do not overlap, but for the last one, which ends with the clip; of it only the frames are taken
    that no window before it covers. A clip shorter than a window is padded at its end by repeating the last
    frame, and the padding is cut off again.

    Args:
        model: ``LangPose``; runs in evaluation mode and is left in the mode it was in.
        keypoints_2d: x, y in half image widths from the centre, y down, and confidence; on any device.
        num_frames: Window length that the model was trained with.

    Returns:
        Camera axes (x right, y down, z forward), pelvis near 0, metres; float32, on the device of the input.

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
    poses = _lift_windows(model, whole.flatten(0, 1)).unflatten(0, whole.shape[:2]).flatten(1, 2)
    if num_left:
        tail = _lift_windows(model, keypoints_2d[:, -num_frames:])
        poses = torch.cat((poses, tail[:, -num_left:]), dim=1)
    return poses[:, :length]


def _lift_windows(model: nn.Module, windows: Float[Tensor, "N T J 3"]) -> Float[Tensor, "N T J 3"]:
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        return torch.cat(
            [
                model(part.to(device), with_features=False).poses_3d.to(part)
                for part in windows.split(_MAX_BATCH)
            ]
        )
    finally:
        model.train(was_training)
