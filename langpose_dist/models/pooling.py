"""Pooling of token features and of motion representations to one vector each.

Every linear layer that makes features is followed by GELU, layer normalisation and dropout. GELU alone
would leave nearly non-negative vectors, all of them alike in cosine; the normalisation after it centres them
again.

Source:
    LangPose, supplement, Fig. 1.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


def _activated_linear(dim_in: int, dim_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim_in, dim_out), nn.GELU(), nn.LayerNorm(dim_out), nn.Dropout(dropout))


class WeightedSum(nn.Module):
    """Sum over an axis with weights that each vector earns by a learned score; uniform before training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, x: Float[Tensor, "N S D"], mask: Bool[Tensor, "N S"]) -> Float[Tensor, "N D"]:
        """The sum over the vectors in ``mask``; zero, with zero gradient, where the mask is empty."""
        scores = self.score(x).squeeze(-1)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        # The lowest finite number, not -inf: a row without any vector would turn into NaN.
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
        weights = (weights * mask).to(x.dtype)
        return (weights.unsqueeze(-2) @ x).squeeze(-2)


class TextPooling(nn.Module):
    """Token features to one vector per label."""

    def __init__(self, text_dim: int, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.tokens = _activated_linear(text_dim, embed_dim, dropout)
        self.weighted_sum = WeightedSum(embed_dim)
        self.label = _activated_linear(embed_dim, embed_dim, dropout)

    def forward(
        self, token_features: Float[Tensor, "N L E"], token_mask: Bool[Tensor, "N L"]
    ) -> Float[Tensor, "N D"]:
        """Pool the tokens in ``token_mask``."""
        return self.label(self.weighted_sum(self.tokens(token_features), token_mask))


class PosePooling(nn.Module):
    """A motion representation to one vector per window.

    Joints are narrowed to ``pool_dim`` each, folded into the feature axis, and the frames are summed with
    learned weights.
    """

    def __init__(
        self, dim_representation: int, num_joints: int, pool_dim: int, embed_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.joints = _activated_linear(dim_representation, pool_dim, dropout)
        self.frames = _activated_linear(num_joints * pool_dim, embed_dim, dropout)
        self.weighted_sum = WeightedSum(embed_dim)

    def forward(
        self, representation: Float[Tensor, "B T J R"], frame_mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B D"]:
        """Pool the frames in ``frame_mask``; an empty mask gives zero."""
        return self.weighted_sum(self.frame_features(representation), frame_mask)

    def frame_features(self, representation: Float[Tensor, "B T J R"]) -> Float[Tensor, "B T D"]:
        """Features of each frame, before they are summed."""
        return self.frames(self.joints(representation).flatten(2))


def unit_length(x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
    """Vectors scaled to length 1 in float32 or wider; zero stays zero, with finite gradients."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1, eps=1e-6)
