"""A small made-up corpus with captions: the figures of ``tests.corpus``, some in mirror image."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langpose_dist.config import RunConfig, build_config
from langpose_dist.data.manifest import Manifest
from langpose_dist.data.sample import Sample, Span
from langpose_dist.datasets.build import build_shards
from tests.corpus import LIMBS, TINY, MadeClip, swing

SENTENCES = {
    "wave left hand": ("A person waves.", "a/DET person/NOUN wave/VERB"),
    "wave right hand": ("someone waves the right hand", "someone/PRON wave/VERB the/DET right/ADJ hand/NOUN"),
    "kick": ("a person kicks", "a/DET person/NOUN kick/VERB"),
    "stand": ("a person stands still", "a/DET person/NOUN stand/VERB still/ADV"),
}
CAPTION: dict[str, Any] = {
    "caption": {"num_layers": 1, "num_heads": 2, "min_count": 1},
    "window": {"num_frames": 40, "stride": 40},
    "noise": {"enabled": False},
    "masking": {"enabled": False},
    "loss": {"contrastive": "none"},
    "evaluation": {"conditions": ["clean"], "num_pictures": 0},
    "data": {"flip_probability": 0.0},
    "optimizer": {"learning_rate": 0.01, "weight_decay": 0.0},
}


def caption_config(root: Path, output: Path | None = None, **changes: Mapping[str, Any]) -> RunConfig:
    """A configuration of a captioner that trains in no time; ``changes`` go into its sections."""
    content: dict[str, Any] = {}
    for part in (TINY, CAPTION, changes):
        for section, values in part.items():
            content.setdefault(section, {}).update(values)
    content["data"]["path"] = str(root)
    return build_config({**content, "task": "caption", "output": str(output or root / "run")})


def _other_side(match: re.Match[str]) -> str:
    return {"left": "right", "right": "left"}[match[0]]


@dataclass(frozen=True)
class CaptionedClip(MadeClip):
    """A clip with two captions of all of it."""

    is_mirrored: bool = False

    def load(self) -> Sample:
        label = self.label or "stand"
        raw, words = SENTENCES[label]
        texts = [(raw.lower(), words), (f"the person {label}s", f"the/DET person/NOUN {label}/VERB")]
        if self.is_mirrored:
            texts = [tuple(re.sub("left|right", _other_side, text) for text in pair) for pair in texts]
        captions = tuple(Span(raw, 0, self.num_frames, words=words) for raw, words in texts)
        meta = {"mirrored": "yes" if self.is_mirrored else "no"}
        return Sample(self.key, swing(LIMBS[label], self.num_frames), (), meta, captions=captions)


def build_captions(root: Path, *, train_clips: int = 14, frames: int = 20, fps: float = 30.0) -> Manifest:
    """Clips of 20 frames and more; every second one of training is a mirrored copy."""
    pairs = [
        (
            split,
            CaptionedClip(
                f"{split}{number:02d}", [*LIMBS][number // 2 % 4], frames + number, is_mirrored=is_copy
            ),
        )
        for split, count in (("train", train_clips), ("validation", 6))
        for number in range(count)
        for is_copy in [number % 2 == 1]
    ]
    return build_shards(pairs, root, dataset="made-up", source="memory", fps=fps, options={}, shard_size=8)
