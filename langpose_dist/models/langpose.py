"""LangPose: the motion encoder with its pose head, and the two poolings that meet in one feature space."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from langpose_dist.config import RunConfig
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.pooling import PosePooling, TextPooling, unit_length
from langpose_dist.models.pretrained import load_encoder_weights
from langpose_dist.models.text import TextBackbone
from langpose_dist.skeleton import H36M17


class LangPoseOutput(NamedTuple):
    """Output of the model for B windows."""

    poses_3d: Float[Tensor, "B T J 3"]
    """Pelvis near 0, in the space that the model was trained for; float32 also under autocast."""
    motion_features: Float[Tensor, "B D"] | None
    """Unit length; zero for a window with an empty span. ``None`` where they were not asked for."""


class LangPose(nn.Module):
    """Lifts 2D keypoints and embeds motions and labels in one space.

    Attributes:
        limb_total: Sum of limb lengths of the people in the training data, metres, where the model's space
            does not tell the size of a person.

    Args:
        config: Its ``model`` and ``window`` sections define the architecture.
        text_dim: Width of the text encoder's token features (E).
        text_encoder: The text encoder's backbone where it is trained too; ``None`` where it is frozen.
    """

    def __init__(self, config: RunConfig, text_dim: int, text_encoder: TextBackbone | None = None) -> None:
        super().__init__()
        model = config.model
        self.text_dim = text_dim
        self.limb_total: float | None = None
        self.encoder = DSTformer(model, num_frames=config.window.num_frames, num_joints=H36M17.num_joints)
        self.pose_pooling = PosePooling(
            model.dim_representation, H36M17.num_joints, model.pool_dim, model.embed_dim, model.pool_dropout
        )
        self.text_pooling = TextPooling(text_dim, model.embed_dim, model.pool_dropout)
        self.text_encoder = text_encoder

    @classmethod
    def build(cls, config: RunConfig, text_dim: int, text_encoder: TextBackbone | None = None) -> "LangPose":
        """A model to train, from ``config.model.initial_weights`` where it names a file.

        Raises:
            UserError: If that file does not fit.
        """
        model = cls(config, text_dim, text_encoder)
        if config.model.initial_weights is not None:
            load_encoder_weights(model.encoder, config.model.initial_weights)
        return model

    def header(self) -> dict[str, str]:
        """Entries of an export's header that rebuild the model, besides the configuration."""
        header = {"text_dim": str(self.text_dim)}
        if self.text_encoder is not None:
            header["text_architecture"] = self.text_encoder.architecture()
        return header

    def forward(
        self,
        keypoints_2d: Float[Tensor, "B T J 3"],
        span_mask: Bool[Tensor, "B T"] | None = None,
        *,
        with_features: bool = True,
    ) -> LangPoseOutput:
        """Lift windows and embed them.

        Args:
            keypoints_2d: x, y in half image widths from the centre, and confidence.
            span_mask: Frames that the motion features average over; default: all.
            with_features: Compute motion features.
        """
        representation = self.encoder(keypoints_2d)
        poses_3d = self.encoder.lift(representation)
        if not with_features:
            return LangPoseOutput(poses_3d, None)
        if span_mask is None:
            span_mask = torch.ones(keypoints_2d.shape[:2], dtype=torch.bool, device=keypoints_2d.device)
        return LangPoseOutput(poses_3d, unit_length(self.pose_pooling(representation, span_mask)))

    def lift_windows(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Poses alone."""
        return self(keypoints_2d, with_features=False).poses_3d

    def encode_text(
        self, token_features: Float[Tensor, "N L E"], token_mask: Bool[Tensor, "N L"]
    ) -> Float[Tensor, "N D"]:
        """Text features of unit length from the text encoder's token features."""
        return unit_length(self.text_pooling(token_features, token_mask))

    def encode_tokens(
        self, token_ids: Int[Tensor, "N L"], token_mask: Bool[Tensor, "N L"]
    ) -> Float[Tensor, "N D"]:
        """Text features of unit length from token ids, through the text encoder that is trained too.

        Raises:
            ValueError: If the model was built for a frozen text encoder.
        """
        if self.text_encoder is None:
            raise ValueError("encode_tokens needs a text encoder in the model; set text.frozen=false")
        return self.encode_text(self.text_encoder(token_ids, token_mask), token_mask)
