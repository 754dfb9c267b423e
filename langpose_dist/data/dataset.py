"""Windows with their drawn parameters: what a loader worker does."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.utils.data import Dataset

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.draws import EVALUATION_EPOCH, Draw, draw_camera, draw_negatives, generator
from langpose_dist.data.labels import Vocabulary
from langpose_dist.data.masking import draw_joint_mask
from langpose_dist.data.noise import draw_noise
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.windows import Window
from langpose_dist.skeleton import H36M17

Request = tuple[int, int]
"""(epoch, window number); number -1 asks for a filler that only keeps a batch's shape."""


@dataclass(frozen=True)
class Augmentation:
    """Which draws are applied; a draw that is off leaves all others as they are."""

    noise: bool
    masking: bool
    flip_probability: float

    @classmethod
    def training(cls, config: RunConfig) -> "Augmentation":
        """As the configuration says for training."""
        return cls(config.noise.enabled, config.masking.enabled, config.data.flip_probability)

    @classmethod
    def evaluation(cls, condition: str) -> "Augmentation":
        """clean: exact projection; noisy: with detector noise; masked: with noise and masking."""
        return cls(noise=condition != "clean", masking=condition == "masked", flip_probability=0.0)


class WindowDataset(Dataset["WindowBatch | UserError"]):
    """Reads windows and draws their parameters; indexed by a batch's requests.

    A batch depends on its requests alone. A mistake in the data comes back as the exception itself, since
    an exception that crosses a process boundary loses its one clear line.

    Args:
        windows: The windows of one split.
        reader: Random access to the shards.
        vocabulary: Numbers the labels and says how often training shows each.
        config: Sizes and proportions of the draws.
        augmentation: Which draws are applied.
    """

    def __init__(
        self,
        windows: Sequence[Window],
        reader: ShardReader,
        vocabulary: Vocabulary,
        config: RunConfig,
        augmentation: Augmentation,
    ) -> None:
        self.windows = windows
        self.reader = reader
        self.vocabulary = vocabulary
        self.config = config
        self.augmentation = augmentation

    def __len__(self) -> int:
        """Number of windows (N)."""
        return len(self.windows)

    @cached_property
    def negative_weights(self) -> np.ndarray:
        """Per label the weight it is drawn with; labels that training never shows have none."""
        counts = np.array(self.vocabulary.counts, dtype=np.float64)
        return np.where(counts > 0, counts**self.config.loss.negative_power, 0.0)

    @property
    def num_negatives(self) -> int:
        """Negatives per window: as configured, or all other labels where there are fewer."""
        others = int((self.negative_weights > 0).sum()) - 1
        return max(0, min(self.config.loss.num_negatives, others))

    def __getitem__(self, requests: Sequence[Request]) -> WindowBatch | UserError:
        """The batch for these requests."""
        try:
            return self._load(requests)
        except UserError as error:
            return error

    def _load(self, requests: Sequence[Request]) -> WindowBatch:
        windows = [self.windows[max(number, 0)] for _, number in requests]
        return self.assemble(
            requests,
            [self.reader.read_poses(item.shard, item.sample, item.start, item.stop) for item in windows],
        )

    def assemble(self, requests: Sequence[Request], poses: Sequence[np.ndarray]) -> WindowBatch:
        """A batch of windows whose frames have been read, with their draws.

        Args:
            requests: Which windows, in which epochs.
            poses: Frames of each; world coordinates, metres.
        """
        batch, frames, joints = len(requests), self.config.window.num_frames, H36M17.num_joints
        arrays = {
            "poses_3d": np.empty((batch, frames, joints, 3), np.float32),
            "frame_mask": np.zeros((batch, frames), bool),
            "span_mask": np.zeros((batch, frames), bool),
            "label_candidates": np.full((batch, 1 + self.num_negatives), -1, np.int64),
            "flip": np.zeros(batch, bool),
            "camera": np.empty((batch, 4), np.float32),
            "noise_keyframes": np.zeros((batch, self.config.noise.num_keyframes, joints, 2), np.float32),
            "noise_jitter": np.zeros((batch, frames, joints, 3), np.float32),
            "joint_mask": np.zeros((batch, frames, joints), bool),
            "positions": np.empty(batch, np.int64),
        }
        for row, (epoch, number) in enumerate(requests):
            self._fill(arrays, row, poses[row], (epoch, max(number, 0)))
            arrays["positions"][row] = number
        return WindowBatch(
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            keys=tuple(self.key(max(number, 0)) for _, number in requests),
        )

    def key(self, number: int) -> str:
        """``clip:first_frame`` of a window."""
        return f"{self.windows[number].key}:{self.windows[number].start}"

    def _fill(self, arrays: dict[str, np.ndarray], row: int, poses: np.ndarray, request: Request) -> None:
        """Write one window's motion and draws into its row of every array."""
        window = self.windows[request[1]]
        config, frames, num_valid = self.config, self.config.window.num_frames, len(poses)
        # Runs with other seeds are evaluated on the same cameras, errors and masks.
        seed = 0 if request[0] == EVALUATION_EPOCH else config.seed
        draws = {draw: generator(seed, *request, draw) for draw in Draw}
        arrays["poses_3d"][row, :num_valid] = poses
        arrays["poses_3d"][row, num_valid:] = poses[-1]
        arrays["frame_mask"][row, :num_valid] = True

        flip = draws[Draw.FLIP].random() < self.augmentation.flip_probability
        arrays["flip"][row] = flip
        if window.spans:
            span = window.spans[int(draws[Draw.SPAN].integers(len(window.spans)))]
            arrays["span_mask"][row, span.start : span.end] = True
            anchor = self.vocabulary.id(span.label)
            anchor = self.vocabulary.flipped[anchor] if flip else anchor
            arrays["label_candidates"][row, 0] = anchor
            arrays["label_candidates"][row, 1:] = draw_negatives(
                draws[Draw.NEGATIVES], anchor, self.negative_weights, self.num_negatives
            )

        arrays["camera"][row] = draw_camera(draws[Draw.CAMERA], config.camera)
        if self.augmentation.noise:
            arrays["noise_keyframes"][row], arrays["noise_jitter"][row] = draw_noise(
                draws[Draw.NOISE], frames, H36M17, config.noise
            )
        if self.augmentation.masking:
            arrays["joint_mask"][row] = draw_joint_mask(
                draws[Draw.MASK], frames, num_valid, H36M17, config.masking
            )
