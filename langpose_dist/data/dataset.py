"""Windows with their drawn parameters, read and assembled by loader workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch.utils.data import Dataset

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.draws import EVALUATION_EPOCH, Draw, draw_camera, draw_negatives, generator
from langpose_dist.data.labels import Vocabulary
from langpose_dist.data.masking import draw_joint_mask
from langpose_dist.data.noise import draw_noise
from langpose_dist.data.sample import recorded_lens, recorded_rotation
from langpose_dist.data.shards import ShardReader
from langpose_dist.data.sides import mirror_label
from langpose_dist.data.windows import Window, labels_beside, stretched_frames
from langpose_dist.skeleton import H36M17

Request = tuple[int, int]
"""(epoch, window number); number -1 asks for a filler that only keeps a batch's shape."""


@dataclass(frozen=True)
class Augmentation:
    """Draws that are applied; switching one off leaves all others unchanged."""

    noise: bool
    masking: bool
    flip_probability: float

    @classmethod
    def training(cls, config: RunConfig) -> "Augmentation":
        """Augmentation that the configuration sets for training."""
        return cls(config.noise.enabled, config.masking.enabled, config.data.flip_probability)

    @classmethod
    def evaluation(cls, condition: str) -> "Augmentation":
        """Augmentation of a condition.

        clean: exact projection; noisy: with detector noise; masked: with noise and masking. Stored 2D joints
        get no synthetic noise, so clean and noisy are the same input there.
        """
        return cls(noise=condition != "clean", masking=condition == "masked", flip_probability=0.0)


@dataclass(frozen=True)
class Frames:
    """Frames of one window as stored."""

    poses_3d: Float32[np.ndarray, "T 17 3"]
    """World coordinates, metres."""
    keypoints_2d: Float32[np.ndarray, "T 17 3"] | None = None
    """Stored 2D joints, where those are the model's input."""
    rotation: Float32[np.ndarray, "3 3"] | None = None
    """From world axes to those of the camera that recorded them."""
    lens: Float32[np.ndarray, "6"] | None = None
    """Lens of that camera; see ``WindowBatch``."""


class WindowDataset(Dataset["WindowBatch | UserError"]):
    """Windows and their drawn parameters; indexed by a batch's requests.

    A batch depends on its requests alone. An error in the data is returned as the exception itself, since an
    exception that crosses a process boundary loses its one clear line.

    Args:
        windows: The windows of one split.
        reader: Random access to the shards.
        vocabulary: Labels with their ids and how often training shows each.
        config: Sizes and proportions of the draws.
        augmentation: Draws that are applied.
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
        """Weight of each label in the draw of negatives; 0 for labels that training never shows."""
        counts = np.array(self.vocabulary.counts, dtype=np.float64)
        return np.where(counts > 0, counts**self.config.loss.negative_power, 0.0)

    @property
    def num_negatives(self) -> int:
        """Negatives per window: as configured, or all other labels if there are fewer."""
        others = int((self.negative_weights > 0).sum()) - 1
        return max(0, min(self.config.loss.num_negatives, others))

    @cached_property
    def max_labels_beside(self) -> int:
        """Most labels that any window may have beside the drawn one."""
        return max((len(w.spans) + len(w.brief_spans) - 1 for w in self.windows if w.spans), default=0)

    def __getitem__(self, requests: Sequence[Request]) -> WindowBatch | UserError:
        """The batch for these requests."""
        try:
            return self._load(requests)
        except UserError as error:
            return error

    def _load(self, requests: Sequence[Request]) -> WindowBatch:
        windows = [self.windows[max(number, 0)] for _, number in requests]
        return self.assemble(requests, [self._read(window) for window in windows])

    def _read(self, window: Window) -> Frames:
        place = (window.shard, window.sample)
        poses = self.reader.read_poses(*place, window.start, window.stop)
        if not self.is_stored:
            return Frames(poses)
        keypoints = self.reader.read_keypoints(*place, window.start, window.stop)
        return self.recorded(window.key, poses, keypoints, self.reader.read_meta(*place))

    def recorded(self, key: str, poses: np.ndarray, keypoints: np.ndarray, meta: Mapping[str, Any]) -> Frames:
        """Frames of a window with stored 2D joints, with what the target needs of their camera."""
        has_lens = self.config.target.space == "image_25d"
        lens = recorded_lens(key, meta) if has_lens else None
        return Frames(poses, keypoints, recorded_rotation(key, meta), lens)

    @property
    def is_stored(self) -> bool:
        """True if the 2D input is the data's own instead of the virtual camera's."""
        return self.config.data.observation == "stored"

    def assemble(self, requests: Sequence[Request], stored: Sequence[Frames]) -> WindowBatch:
        """Assemble a batch of windows that have been read, and draw their parameters.

        Args:
            requests: Windows and epochs.
            stored: Frames of each window.
        """
        batch, frames, joints = len(requests), self.config.window.num_frames, H36M17.num_joints
        arrays = {
            "poses_3d": np.empty((batch, frames, joints, 3), np.float32),
            "frame_mask": np.zeros((batch, frames), bool),
            "span_mask": np.zeros((batch, frames), bool),
            "label_candidates": np.full((batch, 1 + self.num_negatives), -1, np.int64),
            "labels_beside": np.full((batch, self.max_labels_beside), -1, np.int64),
            "flip": np.zeros(batch, bool),
            "camera": np.zeros((batch, 4), np.float32),
            "noise_keyframes": np.zeros((batch, self.config.noise.num_keyframes, joints, 2), np.float32),
            "noise_jitter": np.zeros((batch, frames, joints, 3), np.float32),
            "joint_mask": np.zeros((batch, frames, joints), bool),
            "positions": np.empty(batch, np.int64),
        }
        if self.is_stored:
            arrays["keypoints_2d"] = np.empty((batch, frames, joints, 3), np.float32)
            arrays["rotation"] = np.empty((batch, 3, 3), np.float32)
            if self.config.target.space == "image_25d":
                arrays["lens"] = np.empty((batch, 6), np.float32)
        captions: list[tuple[tuple[str, ...], int]] = []
        for row, (epoch, number) in enumerate(requests):
            request = (epoch, max(number, 0))
            is_stretched = self.windows[request[1]].is_stretched
            num_valid = self._fill_frames(
                arrays, row, _stretch(stored[row], frames) if is_stretched else stored[row]
            )
            self._fill_draws(arrays, row, request, num_valid)
            if self.windows[request[1]].captions:
                captions.append(self._draw_caption(arrays, row, request))
            arrays["positions"][row] = number
        return WindowBatch(
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            keys=tuple(self.key(max(number, 0)) for _, number in requests),
            captions=tuple(texts for texts, _ in captions),
            drawn_captions=tuple(drawn for _, drawn in captions),
        )

    def key(self, number: int) -> str:
        """``clip:first_frame`` of a window."""
        return f"{self.windows[number].key}:{self.windows[number].start}"

    def _fill_frames(self, arrays: dict[str, np.ndarray], row: int, stored: Frames) -> int:
        """Write a window's frames into its row of the arrays; returns how many frames are the clip's."""
        num_valid = len(stored.poses_3d)
        arrays["frame_mask"][row, :num_valid] = True
        for name in ("poses_3d", "keypoints_2d"):
            if (values := getattr(stored, name)) is not None:
                arrays[name][row, :num_valid] = values
                arrays[name][row, num_valid:] = values[-1]
        for name in ("rotation", "lens"):
            if (values := getattr(stored, name)) is not None:
                arrays[name][row] = values
        return num_valid

    def _fill_draws(self, arrays: dict[str, np.ndarray], row: int, request: Request, num_valid: int) -> None:
        """Write a window's draws into its row of the arrays."""
        window = self.windows[request[1]]
        config, frames = self.config, self.config.window.num_frames
        # Runs with other seeds are evaluated on the same cameras, errors and masks.
        seed = 0 if request[0] == EVALUATION_EPOCH else config.seed
        draws = {draw: generator(seed, *request, draw) for draw in Draw}

        flip = draws[Draw.FLIP].random() < self.augmentation.flip_probability
        if window.spans:
            span = window.spans[int(draws[Draw.SPAN].integers(len(window.spans)))]
            arrays["span_mask"][row, span.start : span.end] = True
            labels = [span.label, *labels_beside(window, span)]
            flip = flip and all(map(self.vocabulary.can_mirror, labels))
            own, *beside = (self.vocabulary.id(label, is_mirrored=flip) for label in labels)
            arrays["label_candidates"][row, 0] = own
            arrays["label_candidates"][row, 1:] = draw_negatives(
                draws[Draw.NEGATIVES], [own, *beside], self.negative_weights, self.num_negatives
            )
            arrays["labels_beside"][row, : len(beside)] = beside
        arrays["flip"][row] = flip

        if not self.is_stored:
            arrays["camera"][row] = draw_camera(draws[Draw.CAMERA], config.camera)
        if self.augmentation.noise and not self.is_stored:  # stored 2D joints have errors of their own
            arrays["noise_keyframes"][row], arrays["noise_jitter"][row] = draw_noise(
                draws[Draw.NOISE], frames, H36M17, config.noise
            )
        if self.augmentation.masking:
            arrays["joint_mask"][row] = draw_joint_mask(
                draws[Draw.MASK], frames, num_valid, H36M17, config.masking
            )

    def _draw_caption(
        self, arrays: dict[str, np.ndarray], row: int, request: Request
    ) -> tuple[tuple[str, ...], int]:
        """Captions of a window, mirrored with the motion, and which of them is drawn.

        A motion is mirrored only where all its captions can be.
        """
        captions = self.windows[request[1]].captions
        seed = 0 if request[0] == EVALUATION_EPOCH else self.config.seed
        drawn = int(generator(seed, *request, Draw.CAPTION).integers(len(captions)))
        if arrays["flip"][row]:
            mirrored = tuple(text for text in map(mirror_label, captions) if text is not None)
            arrays["flip"][row] = len(mirrored) == len(captions)
            captions = mirrored if arrays["flip"][row] else captions
        return captions, drawn


def _stretch(stored: Frames, num_frames: int) -> Frames:
    frames = stretched_frames(len(stored.poses_3d), num_frames)
    keypoints = None if stored.keypoints_2d is None else stored.keypoints_2d[frames]
    return replace(stored, poses_3d=stored.poses_3d[frames], keypoints_2d=keypoints)
