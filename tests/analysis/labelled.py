"""A made-up labelled corpus, and models that know or do not know its labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langpose_dist.data.sample import Sample, Span
from langpose_dist.evaluation.contenders import Contender
from langpose_dist.models.langpose import LangPose
from tests.corpus import build_samples, swing, tiny_config
from tests.exports import save_weights

FPS = 10.0


def build_labelled(root: Path) -> str:
    """Five clips that wave the left hand, then the right, then kick; two kick while they change hands too."""
    samples = []
    for number in range(5):
        length = 20 + number
        parts = [swing(joint, length) for joint in ("left_wrist", "right_wrist", "right_ankle")]
        spans = [Span("wave left hand", 0, length), Span("wave right hand", length, 2 * length)]
        spans += [Span("kick", 2 * length, 3 * length)]
        spans += [Span("kick", length - 5, length + 5)] if number % 2 else []
        samples.append(Sample(f"clip{number}", np.concatenate(parts), tuple(spans), {}))
    build_samples(root, samples, FPS)
    return str(root)


def contender(root: str, name: str = "ours", **changes: Any) -> Contender:
    """A small model with random weights."""
    config = tiny_config(Path(root), **changes)
    torch.manual_seed(0)
    model = LangPose(config, text_dim=384).eval()
    facts = {"weights_sha256": "abc"}
    return Contender(name, model, "camera", config.window.num_frames, FPS, config, facts)


def features_of(labels: Sequence[str], known: Sequence[str], noise: float, seed: int = 0) -> np.ndarray:
    """Unit vectors near the axis of each label."""
    rng = np.random.default_rng(seed)
    axes = np.eye(len(known))[[known.index(label) for label in labels]]
    found = axes + noise * rng.normal(size=axes.shape)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def save_labelled(folder: Path, *, fps: float = FPS, **changes: Any) -> str:
    """File of such a model, its data beside it."""
    one = contender(build_labelled(folder), **changes)
    assert one.config is not None
    save_weights(folder / "model.safetensors", one.model, one.config, {"fps": str(fps), "step": "7"})
    return str(folder / "model.safetensors")
