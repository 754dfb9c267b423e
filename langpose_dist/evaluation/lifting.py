"""A recording through a model, by a protocol's clip rule and merging."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from langpose_dist.data.windows import stretched_frames
from langpose_dist.evaluation.protocols import Protocol
from langpose_dist.models.lifting import lift, lift_in_batches


def lift_recording(
    model: Any,
    keypoints_2d: Float[Tensor, "T J 3"],
    num_frames: int,
    protocol: Protocol,
    wanted: Bool[Tensor, "T"],
) -> tuple[Float[Tensor, "T J 3"], Bool[Tensor, "T"]]:
    """Poses of a recording, and which of its frames have one.

    Args:
        model: With a method ``lift_windows``.
        keypoints_2d: As the model's input.
        num_frames: Window length that the model was trained with.
        protocol: Clip rule, merging and flip averaging.
        wanted: Frames that count; with ``centre`` no other is lifted.

    Returns:
        Poses in the model's space, and the wanted frames that a window covers.
    """
    flip_averaging, length = protocol.flip_averaging, len(keypoints_2d)
    if protocol.clip_rule == "whole_windows":
        poses, num_covered = _whole_windows(model, keypoints_2d, num_frames, flip_averaging)
        return poses, wanted & (torch.arange(length) < num_covered)
    if protocol.merging == "none":
        return lift(model, keypoints_2d[None], num_frames, flip_averaging=flip_averaging)[0], wanted
    chosen = wanted.nonzero()[:, 0]
    windows = keypoints_2d[frames_around(chosen, num_frames, length)]
    poses = torch.zeros_like(keypoints_2d)
    poses[chosen] = lift_in_batches(model, windows, flip_averaging=flip_averaging)[:, num_frames // 2]
    return poses, wanted


def frames_around(centres: Int[Tensor, "N"], num_frames: int, length: int) -> Int[Tensor, "N T"]:
    """Frames of the windows around some frames; past its ends a recording repeats its first or last frame."""
    offsets = torch.arange(num_frames) - num_frames // 2
    return (centres[:, None] + offsets).clamp(0, length - 1)


def _whole_windows(
    model: Any, keypoints_2d: Float[Tensor, "T J 3"], num_frames: int, flip_averaging: bool
) -> tuple[Float[Tensor, "T J 3"], int]:
    """Poses, and how many of the first frames have one.

    Of frames that a stretched recording repeats the last copy counts, as in MotionBERT's sums.
    """
    length = len(keypoints_2d)
    poses = torch.zeros_like(keypoints_2d)
    if length < num_frames:
        frames = torch.from_numpy(stretched_frames(length, num_frames))
        last = torch.searchsorted(frames, torch.arange(length), right=True) - 1
        lifted = lift_in_batches(model, keypoints_2d[frames][None], flip_averaging=flip_averaging)[0]
        return lifted[last], length
    num_covered = length // num_frames * num_frames
    windows = keypoints_2d[:num_covered].unflatten(0, (-1, num_frames))
    poses[:num_covered] = lift_in_batches(model, windows, flip_averaging=flip_averaging).flatten(0, 1)
    return poses, num_covered
