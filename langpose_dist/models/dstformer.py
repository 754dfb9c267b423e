"""DSTformer, the motion encoder: 2D keypoints to a representation per joint and frame, and to 3D.

Parameter names and shapes are those of MotionBERT, so its published weights load unchanged.

Source:
    Zhu et al., MotionBERT: A Unified Perspective on Learning Human Motion Representations, ICCV 2023.
"""

from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from langpose_dist.config import ModelConfig
from langpose_dist.models.layers import (
    MLP,
    DropPath,
    Norm,
    SpatialAttention,
    SplitLinear,
    StreamFusion,
    TemporalAttention,
    to_matmul_dtype,
    without_autocast,
)

_NORM_EPS = 1e-6


class Block(nn.Module):
    """Attention and MLP over joints, and attention and MLP over time, in one order or the other."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        *,
        dropout: float,
        drop_path: float,
        temporal_first: bool,
    ) -> None:
        super().__init__()
        hidden_dim = int(dim * mlp_ratio)
        self.temporal_first = temporal_first
        self.norm1_s = Norm(dim, eps=_NORM_EPS)
        self.norm1_t = Norm(dim, eps=_NORM_EPS)
        self.attn_s = SpatialAttention(dim, num_heads, dropout)
        self.attn_t = TemporalAttention(dim, num_heads, dropout)
        self.norm2_s = Norm(dim, eps=_NORM_EPS)
        self.norm2_t = Norm(dim, eps=_NORM_EPS)
        self.mlp_s = MLP(dim, hidden_dim, dropout)
        self.mlp_t = MLP(dim, hidden_dim, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "B T J D"]) -> Float[Tensor, "B T J D"]:
        """Both stages in this block's order."""
        if self.temporal_first:
            return self._spatial(self._temporal(x))
        return self._temporal(self._spatial(x))

    def _spatial(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn_s(self.norm1_s(x)))
        return x + self.drop_path(self.mlp_s(self.norm2_s(x)))

    def _temporal(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn_t(self.norm1_t(x)))
        return x + self.drop_path(self.mlp_t(self.norm2_t(x)))


def _fuse(x: Tensor, block_st: nn.Module, block_ts: nn.Module, fusion: nn.Module) -> Tensor:
    """Both streams of one level, weighed into one."""
    return fusion(block_st(x), block_ts(x))


class DSTformer(nn.Module):
    """Dual-stream spatio-temporal transformer.

    Args:
        config: Widths, depth and regularisation.
        num_frames: Longest window (T); shorter ones use the first time embeddings.
        num_joints: J.
    """

    def __init__(self, config: ModelConfig, *, num_frames: int, num_joints: int = 17) -> None:
        super().__init__()
        self.config = config
        self.recompute = config.recompute
        self.num_frames = num_frames
        self.num_joints = num_joints
        dim, depth = config.dim, config.depth
        self.joints_embed = nn.Linear(3, dim)
        self.temp_embed = nn.Parameter(torch.empty(1, num_frames, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, num_joints, dim))
        self.dropout = nn.Dropout(config.dropout)

        def stream(*, temporal_first: bool) -> nn.ModuleList:
            return nn.ModuleList(
                Block(
                    dim,
                    config.num_heads,
                    config.mlp_ratio,
                    dropout=config.dropout,
                    drop_path=config.drop_path * level / max(depth - 1, 1),
                    temporal_first=temporal_first,
                )
                for level in range(depth)
            )

        self.blocks_st = stream(temporal_first=False)
        self.blocks_ts = stream(temporal_first=True)
        self.ts_attn = nn.ModuleList(StreamFusion(dim) for _ in range(depth))
        self.norm = Norm(dim, eps=_NORM_EPS)
        self.pre_logits = nn.Sequential(
            OrderedDict(fc=nn.Linear(dim, config.dim_representation), act=nn.Tanh())
        )
        self.head = nn.Linear(config.dim_representation, 3)
        self._init_weights(config.init_std)

    def _init_weights(self, std: float) -> None:
        nn.init.trunc_normal_(self.temp_embed, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | SplitLinear):
                nn.init.trunc_normal_(module.weight, std=std)
                nn.init.zeros_(module.bias)

    def forward(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J R"]:
        """The motion representation, in (-1, 1).

        Args:
            keypoints_2d: x, y in half image widths from the centre, and confidence.

        Raises:
            ValueError: If T exceeds ``num_frames`` or J differs from ``num_joints``.
        """
        num_frames, num_joints = keypoints_2d.shape[1:3]
        if num_frames > self.num_frames or num_joints != self.num_joints:
            raise ValueError(
                f"keypoints_2d has {num_frames} frames of {num_joints} joints; this model takes at most "
                f"{self.num_frames} frames of {self.num_joints} joints"
            )
        position = self.pos_embed[:, None] + self.temp_embed[:, :num_frames]  # 1 T J D
        x = self.dropout(self.joints_embed(keypoints_2d) + position)
        if self.config.stream == "bfloat16":
            x = to_matmul_dtype(x)
        is_recomputed = self.recompute and torch.is_grad_enabled()
        for level in zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True):
            x = checkpoint(_fuse, x, *level, use_reentrant=False) if is_recomputed else _fuse(x, *level)
        return self.pre_logits(self.norm(x))

    def lift_windows(self, keypoints_2d: Float[Tensor, "B T J 3"]) -> Float[Tensor, "B T J 3"]:
        """3D joints of windows."""
        return self.lift(self(keypoints_2d))

    def lift(self, representation: Float[Tensor, "B T J R"]) -> Float[Tensor, "B T J 3"]:
        """3D joints from the representation; float32 or wider also under autocast.

        bfloat16 has steps of 4 mm at one metre, so this last, cheap product is not left to autocast.
        """
        wide = representation.to(torch.promote_types(representation.dtype, torch.float32))
        with without_autocast(representation.device.type):
            return self.head(wide)
