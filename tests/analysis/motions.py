"""Made-up motion whose speed depends on the action."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample
from tests.corpus import FRONT, build_samples, record

SPEEDS = {"walk": 1.0, "run": 4.0, "sway": 0.5, "shake": 6.0}
"""Periods per second."""


def perform(key: str, action: str, *, seconds: float = 2.0, fps: float = 30.0, **meta: Any) -> Sample:
    """Joints that swing, with phases and sizes that the key draws."""
    rng = np.random.default_rng(list(key.encode()))
    times = np.arange(round(seconds * fps)) / fps
    phases = 2 * np.pi * rng.random((17, 3)) + 2 * np.pi * SPEEDS[action] * times[:, None, None]
    poses = (rng.normal(size=(17, 3)) + 0.2 * rng.random((17, 3)) * np.sin(phases)).astype(np.float32)
    return Sample(key, poses, (), {"action": action, **meta})


def build_motions(
    root: Path, num_clips: int = 6, *, fps: float = 30.0, actions: Iterable[str] = ("walk", "run")
) -> str:
    """Shards with so many clips of each action, two clips per subject, in both splits."""
    samples = [
        perform(f"{action}{number}", action, fps=fps, subject=f"s{number // 2}")
        for action in actions
        for number in range(num_clips)
    ]
    build_samples(root, samples, fps)
    return str(root)


def seen_by(camera: str, sample: Sample, confidences: np.ndarray | float, **meta: Any) -> Sample:
    """The same motion with 2D joints of a camera."""
    keypoints = np.abs(record(np.zeros_like(sample.poses_3d)))
    keypoints[..., 2] = confidences
    recorded: Mapping[str, Any] = {
        "camera": {"name": camera, "rotation": FRONT},
        "keypoints_2d": "sh",
        **meta,
    }
    return Sample(f"{sample.key}_{camera}", sample.poses_3d, (), {**sample.meta, **recorded}, keypoints)


def evaluation_of(root: str, **gains: float) -> dict[str, Any]:
    """What ``langpose evaluate --out`` writes, as far as it is read here."""
    return {
        "data": {"split": "validation", "fingerprint": Manifest.load(root).fingerprint},
        "improvements": [
            {"metric": "p_mpjpe_mm", "actions": {}},
            {"metric": "mpjpe_mm", "actions": gains},
        ],
    }
