"""A small made-up corpus: figures that swing one limb, built through the package's own builder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.config import RunConfig, build_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample, Span
from langpose_dist.datasets.build import build_shards
from langpose_dist.skeleton import H36M17

LIMBS = {
    "wave left hand": "left_wrist",
    "wave right hand": "right_wrist",
    "kick": "right_ankle",
    "stand": None,
}

TINY: dict[str, Any] = {
    "window": {"num_frames": 9, "stride": 4},
    "masking": {"time_window_frames": [2, 4]},
    "noise": {"num_keyframes": 3},
    "model": {
        "dim": 16,
        "dim_representation": 16,
        "depth": 1,
        "num_heads": 2,
        "pool_dim": 4,
        "embed_dim": 16,
        "pool_dropout": 0.0,
    },
    "optimizer": {"warmup_steps": 1},
    "train": {"max_steps": 4, "global_batch_size": 12, "log_every": 1, "device": "cpu", "num_threads": 1},
    "data": {"num_workers": 0},
    "evaluation": {"batch_size": 4, "num_pictures": 1},
    "tracking": {"enabled": False},
}


def tiny_config(root: Path, output: Path | None = None, **changes: Mapping[str, Any]) -> RunConfig:
    """A configuration of a model that trains in no time; ``changes`` go into its sections."""
    content = {section: dict(values) for section, values in TINY.items()}
    for section, values in changes.items():
        content.setdefault(section, {}).update(values)
    content["data"]["path"] = str(root)
    return build_config({**content, "output": str(output or root / "run")})


@dataclass(frozen=True)
class MadeClip:
    """A clip that exists in memory only."""

    key: str
    label: str | None
    num_frames: int
    is_recorded: bool = False
    """With 2D joints and the camera that saw them, a subject and an action."""
    split: str | None = None

    @property
    def path(self) -> Path:
        return Path(self.source)

    @property
    def source(self) -> str:
        return self.key

    @property
    def fields(self) -> Mapping[str, str]:
        return {}

    def load(self) -> Sample:
        spans = () if self.label is None else (Span(self.label, 0, self.num_frames),)
        poses = swing(LIMBS.get(self.label or ""), self.num_frames)
        if not self.is_recorded:
            return Sample(self.key, poses, spans, {})
        meta = {
            "subject": f"s{self.num_frames % 2}",
            "action": self.label or "nothing",
            "recording": f"s{self.num_frames % 2} {self.label or 'nothing'} 1",
            "camera": {"name": "front", "rotation": FRONT},
        }
        return Sample(self.key, poses, spans, meta, record(poses))


FRONT = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
"""Rotation of a level camera that looks along the world's y axis."""


def record(poses: np.ndarray) -> np.ndarray:
    """2D joints from 5 m before the origin and 1 m above it: focal length 2, 0.01 too far right, confidence
    0.75."""
    depth = poses[..., 1] + 5
    return np.stack(
        (
            2 * poses[..., 0] / depth + 0.01,
            -2 * (poses[..., 2] - 1) / depth,
            np.full_like(depth, 0.75),
        ),
        axis=-1,
    ).astype(np.float32)


def swing(joint: str | None, num_frames: int) -> np.ndarray:
    """A standing figure in metres, z up, one of whose joints swings."""
    heights = {"hip": 0.9, "knee": 0.5, "ankle": 0.1, "shoulder": 1.4, "elbow": 1.1, "wrist": 0.9}
    middle = {"pelvis": 0.9, "spine": 1.15, "thorax": 1.4, "neck": 1.5, "head": 1.7}
    poses = np.zeros((num_frames, 17, 3), np.float32)
    for index, name in enumerate(H36M17.joints):
        side, _, part = name.rpartition("_")
        poses[:, index, 2] = heights[part] if side else middle[part]
        poses[:, index, 0] = {"left": 0.2, "right": -0.2, "": 0.0}[side]
    if joint is not None:
        poses[:, H36M17.index(joint), 2] += 0.4 * np.sin(np.arange(num_frames) / 2).astype(np.float32)
    poses[:, :, 1] -= 0.02 * np.arange(num_frames, dtype=np.float32)[:, None]
    return poses


def build_corpus(
    root: Path, *, train_clips: int = 6, frames: int = 21, is_recorded: bool = False
) -> Manifest:
    """Clips of differing length in two splits; some shorter than a window, one of each split unlabelled."""
    labels = [*LIMBS, None]
    pairs = [
        (
            split,
            MadeClip(
                f"{split}{number:02d}",
                labels[number % len(labels)],
                frames + 3 * number - 12 * (number == 1),
                is_recorded,
            ),
        )
        for split, count in (("train", train_clips), ("validation", 5))
        for number in range(count)
    ]
    return build_shards(pairs, root, dataset="made-up", source="memory", fps=30.0, options={}, shard_size=4)


@dataclass(frozen=True)
class GivenClip(MadeClip):
    sample: Sample | None = None

    def load(self) -> Sample:
        assert self.sample is not None
        return self.sample


def build_samples(root: Path, samples: Sequence[Sample], fps: float = 30.0) -> Manifest:
    """Samples as they are, in training and in validation."""
    pairs = [
        (
            split,
            GivenClip(f"{split}-{sample.key}", None, 0, sample=replace(sample, key=f"{split}-{sample.key}")),
        )
        for split in ("train", "validation")
        for sample in samples
    ]
    return build_shards(pairs, root, dataset="made-up", source="memory", fps=fps, options={}, shard_size=4)


def open_corpus(root: Path, **changes: Mapping[str, Any]) -> Corpus:
    """The corpus in ``root``, built if need be, as the tiny configuration uses it."""
    if not (root / "manifest.json").exists():
        build_corpus(root)
    return Corpus.open(tiny_config(root, None, **changes))
