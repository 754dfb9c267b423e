"""Attention over the joints of each frame as one Triton kernel, for GPUs in half precision.

A sequence of 17 joints fills a quarter of the smallest tile that general kernels are made for. Here a tile
holds as many whole frames as fit, one under the other, and a mask keeps the frames apart. Rows of a tile lie
side by side in memory, so q, k and v are read from what their product wrote, and the output is what the next
product reads. The backward pass computes a tile's weights again; nothing but the input is kept.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch's builds for processors come without it
    triton = tl = None

_TILE = 64
"""Rows of a tile: 3 frames of 17 joints. The products cost next to nothing, so empty rows do neither."""
_NUM_WARPS = 4
_DTYPES = (torch.bfloat16, torch.float16)


def is_available(num_joints: int, head_dim: int, dtype: torch.dtype) -> bool:
    """True where the kernel can serve: Triton is installed, and the sizes fit a tile."""
    fits = num_joints <= _TILE and head_dim in (16, 32, 64, 128) and dtype in _DTYPES
    return triton is not None and fits


if triton is not None:

    @triton.jit
    def _load(start, rows, columns, num_rows, num_columns):
        return tl.load(start + rows[:, None] * num_columns + columns[None, :], rows[:, None] < num_rows, 0.0)

    @triton.jit
    def _weights(q, k, rows, num_rows, scale, J: tl.constexpr):
        """Softmax over the keys of a row's own frame."""
        is_own = (rows[:, None] // J == rows[None, :] // J) & (rows[None, :] < num_rows)
        # A row past the end sees itself, so that no softmax is empty.
        is_own = is_own | (rows[:, None] == rows[None, :])
        scores = tl.where(is_own, tl.dot(q, tl.trans(k), input_precision="ieee") * scale, float("-inf"))
        weights = tl.exp(scores - tl.max(scores, 1)[:, None])
        return weights / tl.sum(weights, 1)[:, None]

    @triton.jit
    def _forward_kernel(
        qkv, output, num_rows, scale, J: tl.constexpr, D: tl.constexpr, d: tl.constexpr, TILE: tl.constexpr
    ):
        offsets = tl.arange(0, TILE)
        first = tl.program_id(0) * (TILE // J * J)
        num_rows = tl.minimum(num_rows - first, TILE // J * J)
        columns = tl.program_id(1) * d + tl.arange(0, d)
        # 64 bits: a batch of 128 windows has more elements than 32 bits count.
        qkv += first.to(tl.int64) * 3 * D
        q = _load(qkv, offsets, columns, num_rows, 3 * D)
        k = _load(qkv + D, offsets, columns, num_rows, 3 * D)
        v = _load(qkv + 2 * D, offsets, columns, num_rows, 3 * D)
        weights = _weights(q, k, offsets, num_rows, scale, J)
        mixed = tl.dot(weights.to(v.dtype), v, input_precision="ieee")
        place = output + first.to(tl.int64) * D + offsets[:, None] * D + columns[None, :]
        tl.store(place, mixed.to(v.dtype), offsets[:, None] < num_rows)

    @triton.jit
    def _backward_kernel(
        qkv, gradient, gradient_qkv, num_rows, scale,
        J: tl.constexpr, D: tl.constexpr, d: tl.constexpr, TILE: tl.constexpr,
    ):  # fmt: skip
        offsets = tl.arange(0, TILE)
        first = tl.program_id(0) * (TILE // J * J)
        num_rows = tl.minimum(num_rows - first, TILE // J * J)
        columns = tl.program_id(1) * d + tl.arange(0, d)
        qkv += first.to(tl.int64) * 3 * D
        q = _load(qkv, offsets, columns, num_rows, 3 * D)
        k = _load(qkv + D, offsets, columns, num_rows, 3 * D)
        v = _load(qkv + 2 * D, offsets, columns, num_rows, 3 * D)
        upstream = _load(gradient + first.to(tl.int64) * D, offsets, columns, num_rows, D)
        weights = _weights(q, k, offsets, num_rows, scale, J)
        into_v = tl.dot(tl.trans(weights.to(v.dtype)), upstream, input_precision="ieee")
        into_weights = tl.dot(upstream, tl.trans(v), input_precision="ieee")
        shared = tl.sum(weights * into_weights, 1)[:, None]
        into_scores = (weights * (into_weights - shared) * scale).to(q.dtype)
        into_q = tl.dot(into_scores, k, input_precision="ieee")
        into_k = tl.dot(tl.trans(into_scores), q, input_precision="ieee")
        place = gradient_qkv + first.to(tl.int64) * 3 * D + offsets[:, None] * 3 * D + columns[None, :]
        tl.store(place, into_q.to(q.dtype), offsets[:, None] < num_rows)
        tl.store(place + D, into_k.to(q.dtype), offsets[:, None] < num_rows)
        tl.store(place + 2 * D, into_v.to(q.dtype), offsets[:, None] < num_rows)


def _launch(kernel: Any, tensors: tuple[Tensor, ...], num_heads: int) -> None:
    qkv = tensors[0]
    num_joints, dim = qkv.shape[-2], qkv.shape[-1] // 3
    num_rows, head_dim = qkv.numel() // (3 * dim), dim // num_heads
    grid = (triton.cdiv(num_rows, _TILE // num_joints * num_joints), num_heads)
    kernel[grid](
        *tensors, num_rows, head_dim**-0.5, J=num_joints, D=dim, d=head_dim, TILE=_TILE, num_warps=_NUM_WARPS
    )


@torch.library.custom_op("langpose::joint_attention", mutates_args=())
def joint_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """Self-attention over the joints of each frame.

    Args:
        qkv: ``* J 3D``: queries, keys and values side by side, as their product writes them; contiguous.
        num_heads: H; a head has D / H features.

    Returns:
        ``* J D``, contiguous.
    """
    output = qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))
    _launch(_forward_kernel, (qkv, output), num_heads)
    return output


@torch.library.custom_op("langpose::joint_attention_backward", mutates_args=())
def _backward(qkv: Tensor, gradient: Tensor, num_heads: int) -> Tensor:
    into_qkv = torch.empty_like(qkv)
    _launch(_backward_kernel, (qkv, gradient.contiguous(), into_qkv), num_heads)
    return into_qkv


@joint_attention.register_fake
def _(qkv: Tensor, num_heads: int) -> Tensor:
    del num_heads
    return qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))


@_backward.register_fake
def _(qkv: Tensor, gradient: Tensor, num_heads: int) -> Tensor:
    del gradient, num_heads
    return torch.empty_like(qkv)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    qkv, ctx.num_heads = inputs
    ctx.save_for_backward(qkv)


def _differentiate(ctx: Any, gradient: Float[Tensor, "*B J D"]) -> tuple[Tensor, None]:
    (qkv,) = ctx.saved_tensors
    return _backward(qkv, gradient, ctx.num_heads), None


joint_attention.register_autograd(_differentiate, setup_context=_keep)
