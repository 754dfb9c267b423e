"""A small net that says how well a sentence fits a motion: the evaluator of captions.

It shares no weights with LangPose. A captioner judged by its own encoder would be right wherever that encoder
is wrong: a motion that it takes for another is captioned wrongly and found to fit.
"""

from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from langpose_dist.models.pooling import TextPooling, unit_length

MOTION_DIM = 17 * 6
"""Place and velocity of 17 joints."""
_DIM = 256


class CaptionMatcher(nn.Module):
    """Motions and sentences as vectors of unit length, alike where they belong together.

    Args:
        text_dim: Width of the token features.
        dropout: Of all parts.

    Source:
        The motion side follows Guo et al., CVPR 2022: two strided convolutions and a recurrent layer.
    """

    def __init__(self, text_dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.text_dim = text_dim
        self.shorten = nn.ModuleList(
            nn.Conv1d(dim, _DIM, kernel_size=4, stride=2, padding=1) for dim in (MOTION_DIM, _DIM)
        )
        self.dropout = nn.Dropout(dropout)
        self.over_time = nn.GRU(_DIM, _DIM // 2, batch_first=True, bidirectional=True)
        self.motion = nn.Linear(_DIM, _DIM)
        self.text = TextPooling(text_dim, _DIM, dropout)
        self.sentence = nn.Linear(_DIM, _DIM)

    @classmethod
    def seeded(cls, text_dim: int, seed: int) -> Self:
        """Fresh weights that depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(text_dim)

    def embed_motion(
        self, motion: Float[Tensor, "B T 102"], frame_mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B 256"]:
        """Embed motions; frames outside the mask, at the end, change nothing."""
        missing = -motion.shape[1] % 2 ** len(self.shorten)
        mask = nn.functional.pad(frame_mask, (0, missing))
        steps = nn.functional.pad(motion, (0, 0, 0, missing)) * mask[..., None]
        for layer in self.shorten:
            mask = mask.unflatten(1, (-1, 2)).any(dim=2)
            steps = layer(steps.transpose(1, 2)).transpose(1, 2)
            steps = self.dropout(nn.functional.gelu(steps)) * mask[..., None]
        lengths = mask.sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(
            steps, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.over_time(packed)[0], batch_first=True)
        return unit_length(self.motion(states.sum(dim=1) / lengths[:, None]))

    def embed_text(
        self, token_features: Float[Tensor, "N L E"], token_mask: Bool[Tensor, "N L"]
    ) -> Float[Tensor, "N 256"]:
        """Embed sentences from the features of a frozen text encoder."""
        return unit_length(self.sentence(self.text(token_features, token_mask)))
