"""The fine-tuned model: the motion encoder with its pose head, and perhaps an average of its weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from langpose_dist.config import RunConfig
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.pretrained import load_encoder_weights
from langpose_dist.skeleton import H36M17


class Lifter(nn.Module):
    """Lifts 2D keypoints to 3D poses in the configured space.

    Attributes:
        limb_total: Sum of limb lengths of the people in the training data, metres, where the model's space
            does not tell the size of a person.

    Args:
        config: Its ``model``, ``window`` and ``finetune`` sections define the architecture.
    """

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        self.decay = config.finetune.ema_decay
        self.limb_total: float | None = None
        self.encoder = _encoder(config)
        self.average = _encoder(config).requires_grad_(False) if self.decay else None

    @classmethod
    def build(cls, config: RunConfig) -> "Lifter":
        """A model to train, from ``config.model.initial_weights`` where it names some.

        Raises:
            UserError: If they do not fit.
        """
        model = cls(config)
        if config.model.initial_weights is not None:
            load_encoder_weights(model.encoder, config.model.initial_weights)
        for name, parameter in model.encoder.named_parameters():
            parameter.requires_grad_(part_of(name) not in config.finetune.frozen)
        if model.average is not None:
            model.average.load_state_dict(model.encoder.state_dict())
        return model

    def lift_windows(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """As ``forward``."""
        return self(keypoints_2d)

    def forward(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """Poses of windows; in evaluation those of the averaged weights, if there are any.

        Args:
            keypoints_2d: x, y in half image widths from the centre, and confidence.

        Returns:
            Pelvis near 0, in the space that the model was trained for; float32 also under autocast.
        """
        encoder = self.encoder if self.training or self.average is None else self.average
        return encoder.lift_windows(keypoints_2d)

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights towards those of the last step."""
        if self.average is not None:
            pairs = zip(self.average.parameters(), self.encoder.parameters(), strict=True)
            for mean, value in pairs:
                mean.lerp_(value, 1 - self.decay)


def part_of(name: str) -> str:
    """Part of the encoder that a parameter belongs to: embeddings, blocks or head."""
    first = name.partition(".")[0]
    if first in ("joints_embed", "temp_embed", "pos_embed"):
        return "embeddings"
    return "head" if first in ("pre_logits", "head") else "blocks"


def depth_of(name: str, depth: int) -> int:
    """Pairs of blocks that stand between a parameter and the output: 0 in the last pair and the head."""
    part = part_of(name)
    if part == "embeddings":
        return depth
    first, _, rest = name.partition(".")
    if part == "head" or first == "norm":
        return 0
    return depth - 1 - int(rest.partition(".")[0])


def _encoder(config: RunConfig) -> DSTformer:
    return DSTformer(config.model, num_frames=config.window.num_frames, num_joints=H36M17.num_joints)
