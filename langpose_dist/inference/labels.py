"""How well labels fit a motion over time, for models that were trained to agree with text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from langpose_dist.config import RunConfig, UserError
from langpose_dist.data.labels import normalise_label
from langpose_dist.inference.model import LiftingModel
from langpose_dist.inference.options import LiftOptions
from langpose_dist.inference.picture import normalise
from langpose_dist.inference.rate import Rates
from langpose_dist.inference.windows import Clip, blend, default_stride, triangle
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.pooling import unit_length
from langpose_dist.models.text import load_text_encoder

_SPAN_S = 1.0
"""Length of motion that a label is compared with; or training's shortest span, if that is longer."""


def parse_labels(text: str) -> tuple[str, ...]:
    """Labels of a list with commas, in the normal form that models are trained with.

    Raises:
        UserError: If there are fewer than two, or one stands there twice.
    """
    labels = tuple(normalise_label(word) for word in text.split(","))
    if len(labels) < 2 or not all(labels):
        raise UserError(
            f"--labels {text!r} must be two labels or more with commas between, such as 'sit down,walk': "
            "probabilities say which of them fits best"
        )
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise UserError(f"--labels names {twice[0]!r} twice")
    return labels


@dataclass(frozen=True)
class LabelReader:
    """A model with a text side, and the features of some labels."""

    model: LiftingModel
    labels: tuple[str, ...]
    text_features: Float[Tensor, "L D"]
    notes: tuple[str, ...] = ()
    """Lines about what the text encoder makes of the labels, where it is not what one would expect."""

    @classmethod
    def open(cls, model: LiftingModel, labels: Sequence[str]) -> Self:
        """Embed labels with the text encoder that a model was trained with.

        Raises:
            UserError: If the model has no text side, or its text encoder cannot be loaded.
        """
        return cls(model, tuple(labels), embed_labels(model.name, model.model, model.config, labels))

    @property
    def span_frames(self) -> int:
        """Frames of the model that a label is compared with."""
        assert self.model.config is not None
        wanted = max(round(_SPAN_S * self.model.fps), self.model.config.window.min_span_frames)
        return min(wanted, self.model.num_frames)

    def probabilities(
        self, keypoints: Float[np.ndarray, "T 17 3"], first_frame: int, options: LiftOptions
    ) -> dict[str, Float[np.ndarray, "T"]]:
        """Probability of each label in each frame of a clip; they add up to 1 over the labels.

        Args:
            keypoints: Pixels and confidence.
            first_frame: Number of the first frame in the video.
            options: Rate and size of the video, and normalisation.
        """
        assert options.fps is not None
        rates, num_frames = Rates(options.fps, self.model.fps), self.model.num_frames
        frames, start = rates.to_model(keypoints, first_frame)

        def read(windows: Float[np.ndarray, "N T 17 3"]) -> Float[np.ndarray, "N T L"]:
            inputs, _ = normalise(windows, options.normalisation, options.size, self.model.units_per_metre)
            return self._read_windows(torch.from_numpy(inputs))

        (values,) = blend(read, [Clip(frames, start)], num_frames, default_stride(num_frames))
        values = rates.to_video(values, start, first_frame, len(keypoints)).clip(0, 1)
        values /= values.sum(axis=1, keepdims=True)
        return dict(zip(self.labels, values.T, strict=True))

    @torch.inference_mode()
    def _read_windows(self, keypoints_2d: Float[Tensor, "N T J 3"]) -> Float[np.ndarray, "N T L"]:
        """Probabilities in each frame, from the spans of a window that it lies in."""
        assert self.model.config is not None
        num_windows, num_frames = keypoints_2d.shape[:2]
        representation = self.model.model.encoder(keypoints_2d.to(self.model.device))
        length = self.span_frames
        total = np.zeros((num_windows, num_frames, len(self.labels)))
        weights = np.zeros((num_frames, 1))
        ramp = triangle(length)[:, None]
        for start in [*range(0, num_frames - length, -(-length // 2)), num_frames - length]:
            mask = torch.zeros(num_windows, num_frames, dtype=torch.bool, device=representation.device)
            mask[:, start : start + length] = True
            features = unit_length(self.model.model.pose_pooling(representation, mask))
            logits = features @ self.text_features.T / self.model.config.loss.temperature
            found = logits.softmax(dim=-1).cpu().numpy()
            total[:, start : start + length] += ramp * found[:, None]
            weights[start : start + length] += ramp
        return total / weights

    def describe(self) -> Mapping[str, Any]:
        """Origin of the probabilities."""
        assert self.model.config is not None
        return {
            "labels": list(self.labels),
            "model": self.model.name,
            "weights": dict(self.model.facts),
            "notes": list(self.notes),
            "temperature": self.model.config.loss.temperature,
            "span_s": round(self.span_frames / self.model.fps, 3),
            "meaning": "softmax over these labels alone; they say which fits best, not that any does",
        }


@torch.inference_mode()
def embed_labels(
    name: str, model: Any, config: RunConfig | None, labels: Sequence[str]
) -> Float[Tensor, "L D"]:
    """Features of labels of unit length, by the text encoder that a model was trained with.

    Args:
        name: Of the model, for messages.
        model: A ``LangPose``.
        config: Of its training.
        labels: In normal form.

    Raises:
        UserError: If the model has no text side, or its text encoder cannot be loaded.
    """
    if not isinstance(model, LangPose) or config is None or not config.loss.is_contrastive:
        raise UserError(
            f"model {name} has no text side: fine-tuning drops it, and loss.contrastive=none never "
            "trains it; give a pretrained model that was trained with labels"
        )
    encoder = load_text_encoder(config.text)
    tokens = encoder.tokenize(labels)
    device = next(model.parameters()).device
    ids, mask = tokens.ids.to(device), tokens.mask.to(device)
    if model.text_encoder is not None:
        return model.encode_tokens(ids, mask)
    return model.encode_text(encoder.token_features(labels).to(device), mask)
