"""Pretraining: rebuild 3D from masked, noisy 2D, and agree with the action label in words."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.batch import MotionBatch, WindowBatch
from langpose_dist.config import RunConfig
from langpose_dist.geometry import observe
from langpose_dist.losses.contrastive import candidate_logits, info_nce, modified_info_nce
from langpose_dist.losses.pose import position_loss, velocity_loss
from langpose_dist.models.langpose import LangPose, LangPoseOutput
from langpose_dist.models.text import TextEncoder


@dataclass(frozen=True)
class LabelTable:
    """What the text encoder says of every label of a vocabulary."""

    token_ids: Int[Tensor, "V L"]
    token_mask: Bool[Tensor, "V L"]
    sentence_features: Float[Tensor, "V E"]
    """Unit length; from the untrained encoder."""
    token_features: Float[Tensor, "V L E"] | None
    """``None`` where the encoder is trained along."""

    @classmethod
    def compute(cls, encoder: TextEncoder, labels: tuple[str, ...], *, frozen: bool) -> "LabelTable":
        """Encode a vocabulary once."""
        tokens = encoder.tokenize(labels)
        return cls(
            token_ids=tokens.ids,
            token_mask=tokens.mask,
            sentence_features=encoder.sentence_features(labels),
            token_features=encoder.token_features(labels) if frozen else None,
        )


class PretrainTask(nn.Module):
    """The model with its losses.

    Every term is a value per window; the caller takes the mean, so each window weighs the same. A window
    without a label adds 0 to the contrastive term.

    Args:
        model: The model to train.
        labels: The vocabulary that ``label_candidates`` count in.
        config: Losses, camera and precision.
        autocast: Type of the model's activations, or ``None`` for float32.
    """

    token_ids: Tensor
    token_mask: Tensor
    sentence_features: Tensor
    token_features: Tensor | None

    def __init__(
        self, model: LangPose, labels: LabelTable, config: RunConfig, autocast: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.autocast = autocast
        # Buffers follow the module to its device; they belong to the data, so no checkpoint holds them.
        for field in fields(LabelTable):
            self.register_buffer(field.name, getattr(labels, field.name), persistent=False)

    @property
    def weights(self) -> dict[str, float]:
        """Term -> weight; a term of weight 0 is not computed."""
        loss = self.config.loss
        weights = {"loss_3d": loss.lambda_3d, "loss_v": loss.lambda_v}
        if self.is_contrastive:
            weights["loss_con"] = loss.lambda_con
        return {name: weight for name, weight in weights.items() if weight > 0}

    @property
    def is_contrastive(self) -> bool:
        """Whether motions are compared with labels."""
        return self.config.loss.is_contrastive

    def forward(self, windows: WindowBatch) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window, ``loss`` being their weighted sum."""
        batch, output = self.lift(windows)
        return self.loss_terms(batch, output)

    def lift(self, windows: WindowBatch) -> tuple[MotionBatch, LangPoseOutput]:
        """What the camera saw, and what the model makes of it."""
        batch = observe(windows, self.config.camera, self.config.noise)
        with self._precision(batch.keypoints_2d.device):
            output = self.model(batch.keypoints_2d, batch.span_mask, with_features=self.is_contrastive)
        return batch, output

    def loss_terms(self, batch: MotionBatch, output: LangPoseOutput) -> dict[str, Float[Tensor, "B"]]:
        """Loss terms per window of a prediction."""
        terms: dict[str, Tensor] = {}
        if "loss_3d" in self.weights:
            terms["loss_3d"] = position_loss(output.poses_3d, batch.poses_3d, batch.frame_mask)
        if "loss_v" in self.weights:
            terms["loss_v"] = velocity_loss(output.poses_3d, batch.poses_3d, batch.frame_mask)
        if "loss_con" in self.weights:
            assert output.motion_features is not None
            terms["loss_con"] = self._contrastive(output.motion_features, batch.label_candidates)
        total = sum((weight * terms[name] for name, weight in self.weights.items()), start=torch.zeros(()))
        return terms | {"loss": total}

    def text_features(self, ids: Int[Tensor, "N"] | None = None) -> Float[Tensor, "N D"]:
        """Unit-length features of some labels of the vocabulary, or of all."""
        rows = slice(None) if ids is None else ids
        with self._precision(self.token_mask.device):
            if self.token_features is None:
                return self.model.encode_tokens(self.token_ids[rows], self.token_mask[rows])
            return self.model.encode_text(self.token_features[rows], self.token_mask[rows])

    def _contrastive(
        self, motion_features: Float[Tensor, "B D"], label_candidates: Int[Tensor, "B C"]
    ) -> Float[Tensor, "B"]:
        loss = self.config.loss
        has_label = label_candidates[:, 0] >= 0
        candidates = label_candidates.clamp(min=0)
        # Of a small vocabulary every label is encoded once; of a large one only those in the batch.
        if len(self.token_mask) <= candidates.numel():
            text_features = self.text_features()[candidates]
        else:
            text_features = self.text_features(candidates.flatten()).unflatten(0, candidates.shape)
        logits = candidate_logits(motion_features, text_features, loss.temperature)
        if loss.contrastive == "infonce":
            values = info_nce(logits)
        else:
            sentences = self.sentence_features[candidates]
            target_logits = candidate_logits(sentences[:, 0], sentences, loss.target_temperature)
            values = modified_info_nce(logits, target_logits, gamma=loss.gamma, beta=loss.beta)
        return torch.where(has_label, values, 0.0)

    def _precision(self, device: torch.device) -> torch.autocast:
        # Around the model alone: losses stay in float32.
        return torch.autocast(device.type, dtype=self.autocast, enabled=self.autocast is not None)
