"""The encoder's layers: attention over joints and over time, MLP, stream fusion, stochastic depth.

Activations stay contiguous as ``B T J D`` from the first layer to the last. Both attentions hand
``scaled_dot_product_attention`` strided views of what their projection wrote, so no layout is ever copied.

Source:
    Zhu et al., MotionBERT, ICCV 2023 (parameter names and shapes).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from langpose_dist.models.joint_attention import joint_attention


def to_matmul_dtype(x: Tensor) -> Tensor:
    """``x`` in the type that autocast gives to matrix products; ``x`` itself without autocast.

    Autocast converts an activation anew for every product that reads it. Where several do, converting
    first makes it once.
    """
    device_type = x.device.type
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return x.to(torch.get_autocast_dtype(device_type))
    return x


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast turned off, also on devices that have none, such as meta."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _attend(
    q: Float[Tensor, "N H S d"], k: Float[Tensor, "N H S d"], v: Float[Tensor, "N H S d"], dropout: float
) -> Float[Tensor, "N H S d"]:
    """Scaled dot product attention with the fastest kernel at hand.

    Torch's fused kernel serves everywhere but for one case: on CPU its backward in bfloat16 takes longer
    than the plain products, five times as long at 17 keys. Tensors without values, as in an estimate of a
    GPU's memory, take the fused one.
    """
    is_slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad
    if is_slow and not isinstance(q, FakeTensor):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
        return F.dropout(weights, dropout) @ v
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


class Norm(nn.LayerNorm):
    """Layer normalisation that answers in the type of its input, with sums in float32.

    Autocast would widen a bfloat16 input and the answer.
    """

    def forward(self, input: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Normalised vectors."""
        if input.dtype == torch.float32:
            return super().forward(input)
        with without_autocast(input.device.type):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return F.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


class SplitLinear(nn.Module):
    """A linear layer whose output comes in equal parts, each a contiguous tensor of its own.

    The parameters are those of one ``nn.Linear(dim_in, num_parts * dim_out)``; the products read slices of
    its weight, which are views.
    """

    def __init__(self, dim_in: int, dim_out: int, num_parts: int) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.weight = nn.Parameter(torch.empty(num_parts * dim_out, dim_in))
        self.bias = nn.Parameter(torch.zeros(num_parts * dim_out))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Float[Tensor, "*rows I"]) -> Sequence[Float[Tensor, "*rows O"]]:
        """The parts in the order of the weight's rows."""
        x = to_matmul_dtype(x)
        weights, biases = self.weight.chunk(self.num_parts), self.bias.chunk(self.num_parts)
        return [F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)]


class SpatialAttention(nn.Module):
    """Self-attention over the joints of each frame.

    One product gives q, k and v side by side. Frames are the batch: (B, T) merge freely, and the heads are
    a strided view, which attention kernels accept as long as the last axis is dense.

    Attributes:
        is_fused: Use the kernel of ``joint_attention`` instead of torch's, where there is no dropout.
    """

    is_fused = False

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T J D"]) -> Float[Tensor, "B T J D"]:
        """Mix the joints of each frame."""
        B, T, J, D = x.shape
        qkv = self.qkv(x)
        dropout = self.attention_dropout if self.training else 0.0
        if self.is_fused and not dropout:
            return self.dropout(self.proj(joint_attention(qkv, self.num_heads)))
        split = qkv.view(B * T, J, 3, self.num_heads, D // self.num_heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)  # each B*T H J d
        mixed = _attend(q, k, v, dropout)
        return self.dropout(self.proj(mixed.transpose(1, 2).reshape(B, T, J, D)))


class TemporalAttention(nn.Module):
    """Self-attention over the frames of each joint.

    Time lies between batch and joints in memory. With q, k and v in one tensor the joint and head axes
    would have the other two parts between them and could not merge without a copy. With q alone,
    ``B T J D`` is ``B T (J H) d`` in the same memory, so joints simply count as more heads and a transpose
    of two axes is all that attention needs. Hence three products on slices of the one weight.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_dropout = dropout
        self.qkv = SplitLinear(dim, dim, num_parts=3)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T J D"]) -> Float[Tensor, "B T J D"]:
        """Mix the frames of each joint."""
        B, T, J, D = x.shape
        heads = J * self.num_heads
        q, k, v = (part.view(B, T, heads, D // self.num_heads).transpose(1, 2) for part in self.qkv(x))
        dropout = self.attention_dropout if self.training else 0.0
        mixed = _attend(q, k, v, dropout)  # B J*H T d
        return self.dropout(self.proj(mixed.transpose(1, 2).reshape(B, T, J, D)))


class MLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """Transform every joint of every frame by itself."""
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))


class StreamFusion(nn.Module):
    """Weigh two streams per joint and frame, with weights that sum to 1.

    The parameters are those of ``nn.Linear(2 * dim, 2)`` on the streams joined along D, followed by a
    softmax. The softmax over two logits is the sigmoid of their difference, and the product with joined
    streams is the sum of two products, so nothing is joined.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2 * dim))
        self.bias = nn.Parameter(torch.full((2,), 0.5))

    def forward(
        self, first: Float[Tensor, "B T J D"], second: Float[Tensor, "B T J D"]
    ) -> Float[Tensor, "B T J D"]:
        """A convex combination of the streams."""
        weight = (self.weight[:1] - self.weight[1:]).chunk(2, dim=-1)
        bias = self.bias[:1] - self.bias[1:]
        logit = F.linear(first, weight[0], bias) + F.linear(second, weight[1])
        return torch.lerp(second, first, logit.to(first.dtype).sigmoid())


class DropPath(nn.Module):
    """Leave out a residual branch for whole samples in training, and scale it up for the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Float[Tensor, "B *rest"]) -> Float[Tensor, "B *rest"]:
        """The branch's output, zero for the samples that drop it."""
        if not self.training or self.probability == 0:
            return x
        if self.probability == 1:
            return torch.zeros_like(x)
        keep = 1 - self.probability
        kept = x.new_empty((x.shape[0], *[1] * (x.ndim - 1))).bernoulli_(keep)
        return x * (kept / keep)
