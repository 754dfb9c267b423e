"""Base of tasks that lift 2D joints to 3D poses: observation, errors, baselines, pictures, export."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.dataset import Augmentation
from langpose_dist.geometry import observe
from langpose_dist.metrics.pose import mpjpe, mpjve, n_mpjpe, p_mpjpe
from langpose_dist.models.lifting import lift
from langpose_dist.skeleton import H36M17
from langpose_dist.spaces import limb_lengths, scale_to_person
from langpose_dist.tasks.task import Column, Columns, Interface, Picture, Task

PROTOCOL = {
    "mean_pose": "mean of the training targets in camera axes, given as answer for every frame",
    "condition": "2D input: clean is exact, noisy has detector noise, masked also training's masks",
    "windows": "every frame of the split in exactly one window; one camera and one label span drawn for each",
}
INTERFACE = Interface(
    inputs=(-1, -1, H36M17.num_joints, 3),
    outputs=(-1, -1, H36M17.num_joints, 3),
    description=(
        "LangPose. Input: float32 (clips, frames, 17, 3), 2D keypoints as x, y in half image widths from the "
        "image centre (y down) and confidence, skeleton h36m17. Output: float32 (clips, frames, 17, 3), "
        "camera axes (x right, y down, z forward), pelvis near 0, metres."
    ),
    kind="pose lifting",
)
SCALE_SOURCE = "mean limb lengths of the training data"
_LIMB_TOTAL = "limb_total"
_POSE_METRICS = {"mpjpe_mm": mpjpe, "p_mpjpe_mm": p_mpjpe, "n_mpjpe_mm": n_mpjpe}
_MEASURED_WINDOWS = 200
"""Training windows, spread evenly, that the size of the people is taken from."""


class PoseTask(Task):
    """A model that lifts poses, whatever else it learns.

    Args:
        model: The model to train, with a method ``lift_windows``, and ``limb_total`` where its space does not
            tell the size of a person.
        config: Losses, camera, target space and precision.
        fps: Frames per second of the data, for speeds.
    """

    interface = INTERFACE
    protocol: ClassVar[Mapping[str, str]] = PROTOCOL

    def __init__(self, model: nn.Module, config: RunConfig, fps: float) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.fps = fps

    @classmethod
    def predict(cls, model: Any, config: RunConfig, inputs: np.ndarray) -> np.ndarray:
        """Poses of clips of any length, in metres.

        A model of ``image_25d`` does not know how large a person is: its figures get the mean size of the
        people that it was trained on.
        """
        keypoints_2d = torch.from_numpy(np.ascontiguousarray(inputs, dtype=np.float32))
        poses = lift(model, keypoints_2d, config.window.num_frames)
        if config.target.space == "image_25d":
            poses = scale_to_person(poses, model.limb_total)
        return poses.numpy()

    def header(self) -> dict[str, str]:
        """Space of the poses, and the size of a person where the space does not tell it."""
        total = self.model.limb_total
        size = {} if total is None else {_LIMB_TOTAL: f"{total:.6f}", "scale_source": SCALE_SOURCE}
        return {"space": self.config.target.space, **size}

    def facts(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """Space of the poses."""
        return {"space": self.config.target.space}

    def observe(self, windows: WindowBatch) -> MotionBatch:
        """2D input and target of windows."""
        return observe(windows, self.config.camera, self.config.noise, self.config.target.space)

    def target(self, windows: WindowBatch) -> tuple[Float[Tensor, "B T J 3"], Bool[Tensor, "B T"]]:
        """Target poses."""
        batch = self.observe(windows)
        return batch.poses_3d, batch.frame_mask

    def baselines(self, windows: WindowBatch, mean_target: Tensor | None) -> dict[str, Columns]:
        """The mean training pose as every answer."""
        if mean_target is None:
            return {}
        batch = self.observe(windows)
        predicted = mean_target.expand_as(batch.poses_3d)
        columns = pose_columns(predicted, batch, self.fps)
        return {"mean_pose": {name: columns[name] for name in _POSE_METRICS}}

    def picture(
        self, windows: WindowBatch, batch: MotionBatch, predicted: Tensor, label: str | None, row: int
    ) -> Picture:
        """One window with its prediction, in metres."""
        valid = batch.frame_mask[row]
        metres = batch.metres[row][valid][:, None, None]
        return Picture(
            key=windows.keys[row],
            label=label,
            keypoints_2d=batch.keypoints_2d[row][valid].cpu(),
            true_poses=(batch.poses_3d[row][valid] * metres).cpu(),
            predicted_poses=(predicted[row][valid].float() * metres).cpu(),
            hidden=windows.joint_mask[row][valid].cpu(),
        )


def pose_columns(predicted: Float[Tensor, "B T J 3"], batch: MotionBatch, fps: float) -> dict[str, Column]:
    """Pose errors in millimetres, each valid frame weighing the same, and velocity errors.

    The prediction is in the space of the batch's targets.
    """
    metres = batch.metres[..., None, None]
    predicted, target = predicted * metres, batch.poses_3d * metres
    frames = batch.frame_mask.sum(dim=1)
    columns = {
        name: Column(metric(predicted, target, batch.frame_mask) * 1000, frames)
        for name, metric in _POSE_METRICS.items()
    }
    pairs = (frames - 1).clamp(min=0)  # a window of one frame has no velocity
    columns["mpjve_mm_s"] = Column(mpjve(predicted, target, batch.frame_mask) * (1000 * fps), pairs)
    return columns


def measure_person(config: RunConfig, corpus: Corpus) -> float | None:
    """Mean sum of limb lengths in the training data, metres; ``None`` where the space tells a person's size.

    Raises:
        UserError: If the data cannot be read.
    """
    if config.target.space == "camera":
        return None
    windows = corpus.training_set.windows
    dataset = corpus.dataset(
        windows[:: -(-len(windows) // _MEASURED_WINDOWS)],
        Augmentation(noise=False, masking=False, flip_probability=0.0),
    )
    totals: list[Tensor] = []
    for number in range(len(dataset)):
        batch = dataset[[(0, number)]]
        if isinstance(batch, UserError):
            raise batch
        totals.append(limb_lengths(batch.poses_3d[batch.frame_mask]).sum(dim=-1))
    return float(torch.cat(totals).mean())


def read_person(header: Mapping[str, str]) -> float | None:
    """``limb_total`` of an exported model; ``None`` where its space tells the size of a person."""
    return float(header[_LIMB_TOTAL]) if _LIMB_TOTAL in header else None
