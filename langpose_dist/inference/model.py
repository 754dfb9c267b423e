"""A trained model as inference uses it, whoever trained it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from langpose_dist.config import RunConfig, Space

_UNITS_PER_METRE = 0.46
"""Half image widths per metre at the people of Human3.6M: focal length 2.3, 5 m away."""
MOTIONBERT_FPS = 50.0
"""Of Human3.6M, which MotionBERT's models were fine-tuned on; their files do not say it."""


@dataclass(frozen=True)
class LiftingModel:
    """A model that lifts windows, in evaluation mode."""

    name: str
    model: Any
    """With a method ``lift_windows``."""
    space: Space
    """That it predicts in."""
    num_frames: int
    """Frames per window."""
    fps: float
    """Rate of the motion that it was trained on."""
    config: RunConfig | None
    """Configuration of its training; ``None`` for another project's."""
    facts: Mapping[str, Any]
    """Origin of the weights."""
    autocast: torch.dtype | None = None
    """Type of the activations; ``None`` for float32."""

    @property
    def limb_total(self) -> float | None:
        """Sum of limb lengths of the people it was trained on, metres, where its file says it."""
        return getattr(self.model, "limb_total", None)

    @property
    def units_per_metre(self) -> float:
        """Half image widths per metre at the people that it was trained on."""
        return units_per_metre(self.config)

    @property
    def device(self) -> torch.device:
        """Of its weights."""
        return next(self.model.parameters()).device


def units_per_metre(config: RunConfig | None) -> float:
    """Half image widths per metre at the people of a training; ``None`` stands for another project's."""
    if config is None or config.data.observation == "stored":
        return _UNITS_PER_METRE
    return sum(config.camera.focal_length) / sum(config.camera.distance)
