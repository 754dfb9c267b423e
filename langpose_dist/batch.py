"""Batches on their way from the loader to the task.

The loader draws small random parameters per window (``WindowBatch``); ``geometry.observe`` applies them,
batched and on the training device, and gives the model's input and target (``MotionBatch``).
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class _TensorBatch:
    """Base of batches: moves all tensor fields together and leaves other fields as they are."""

    def _map(self, function: Any) -> Self:
        tensors = {
            field.name: function(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **tensors)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Copy of the batch with its tensors on ``device``."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Copy of the batch in page-locked memory, from which copies to a GPU overlap compute."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class WindowBatch(_TensorBatch):
    """B windows as stored, with the random parameters drawn for each of them.

    The 2D input comes from a virtual camera with a synthetic detector, unless the windows carry the 2D joints
    of their own recordings in ``keypoints_2d``.
    """

    poses_3d: Float[Tensor, "B T J 3"]
    """World coordinates, metres, z up; frames past the clip's end repeat its last frame."""
    frame_mask: Bool[Tensor, "B T"]
    """True for frames of the clip, false for padding."""
    span_mask: Bool[Tensor, "B T"]
    """True for the frames that the action label describes; all false without a label."""
    label_candidates: Int[Tensor, "B C"]
    """Vocabulary ids: the window's own label, then its negatives, or -1 where one is missing; -1 throughout
    without a label."""
    labels_beside: Int[Tensor, "B M"]
    """Vocabulary ids of further labels of the own label's frames, then -1; they are never negatives."""
    flip: Bool[Tensor, "B"]
    """True where the motion is mirrored; label and negatives already belong to the mirrored motion."""
    camera: Float[Tensor, "B 4"]
    """Yaw and elevation in radians, distance in metres, focal length in half image widths; unused with
    ``keypoints_2d``, as is the detector error."""
    noise_keyframes: Float[Tensor, "B K J 2"]
    """Slow detector error at K moments spread evenly over the window, metres at the person's depth."""
    noise_jitter: Float[Tensor, "B T J 3"]
    """Fast detector error: x and y in metres at the person's depth, and a change of confidence."""
    joint_mask: Bool[Tensor, "B T J"]
    """True where the input joint is hidden from the model."""
    positions: Int[Tensor, "B"]
    """Window numbers within the split; -1 marks a filler that no metric may count."""
    keys: tuple[str, ...]
    """Per window ``clip:first_frame``, for messages."""
    keypoints_2d: Float[Tensor, "B T J 3"] | None = None
    """Stored 2D joints: x, y in half image widths from the centre, y down, and confidence."""
    rotation: Float[Tensor, "B 3 3"] | None = None
    """From world axes to those of the recording camera; goes with ``keypoints_2d``."""
    lens: Float[Tensor, "B 6"] | None = None
    """The recording camera's place in the world (3, metres), focal length along x and y, and the width of a
    pixel, in half image widths; only where the target is ``image_25d``."""
    captions: tuple[tuple[str, ...], ...] = ()
    """Captions of each window, in the order of the data and mirrored with the motion; none for tasks that use
    no captions."""
    drawn_captions: tuple[int, ...] = ()
    """Place of the drawn one among them."""


@dataclass(frozen=True)
class MotionBatch(_TensorBatch):
    """B windows as the model sees them, with their targets; alike for every source of the 2D input."""

    keypoints_2d: Float[Tensor, "B T J 3"]
    """x, y in half image widths from the centre, y down, and confidence; hidden joints are all zero."""
    poses_3d: Float[Tensor, "B T J 3"]
    """Camera axes (x right, y down, z forward), pelvis at 0, metres; or ``image_25d``, see ``spaces``."""
    metres: Float[Tensor, "B T"]
    """Metres per unit of ``poses_3d`` in each frame: 1, or the factor of ``image_25d``."""
    frame_mask: Bool[Tensor, "B T"]
    """True for frames of the clip, false for padding."""
    span_mask: Bool[Tensor, "B T"]
    """True for the frames that the action label describes."""
    label_candidates: Int[Tensor, "B C"]
    """Vocabulary ids: own label first, then negatives; -1 throughout without a label."""
