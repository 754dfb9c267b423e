"""Attention over the joints of each frame as one kernel, for GPUs in half precision.

A sequence of 17 joints fills a quarter of the smallest tile that general kernels are made for. Here a tile
holds as many whole frames as fit, one under the other, and a mask keeps the frames apart. Rows of a tile lie
side by side in memory, so q, k and v are read from what their product wrote, and the output is what the next
product reads. The backward pass computes a tile's weights again; nothing but the input is kept. A value that
is no number reaches the other frames of its tile, which may be another window's.
"""

import importlib.util
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

TILE = 64
"""Rows of a tile: 3 frames of 17 joints. The products cost next to nothing, so empty rows do neither."""
NUM_WARPS = 4
_DTYPES = (torch.bfloat16, torch.float16)


def is_available(num_joints: int, head_dim: int, dtype: torch.dtype) -> bool:
    """True where the kernel can serve: Triton is installed, and the sizes fit a tile."""
    fits = num_joints <= TILE and head_dim in (16, 32, 64, 128) and dtype in _DTYPES
    # torch's builds for processors come without Triton.
    return fits and importlib.util.find_spec("triton") is not None


def _launch(name: str, tensors: tuple[Tensor, ...], num_heads: int) -> None:
    from langpose_dist.models import joint_kernels

    qkv = tensors[0]
    num_joints, dim = qkv.shape[-2], qkv.shape[-1] // 3
    num_rows, head_dim = qkv.numel() // (3 * dim), dim // num_heads
    num_tiles = -(-num_rows // (TILE // num_joints * num_joints))
    sizes = {"J": num_joints, "D": dim, "d": head_dim, "TILE": TILE}
    kernel = getattr(joint_kernels, name)[num_tiles, num_heads]
    kernel(*tensors, num_rows, head_dim**-0.5, **sizes, num_warps=NUM_WARPS)


@torch.library.custom_op("langpose::joint_attention", mutates_args=())
def joint_attention(qkv: Tensor, num_heads: int) -> Tensor:
    """Self-attention over the joints of each frame.

    Args:
        qkv: ``* J 3D``: queries, keys and values side by side, as their product writes them.
        num_heads: H; a head has D / H features.

    Returns:
        ``* J D``, contiguous.
    """
    output = qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))
    _launch("forward_kernel", (qkv.contiguous(), output), num_heads)
    return output


@torch.library.custom_op("langpose::joint_attention_backward", mutates_args=())
def _backward(qkv: Tensor, gradient: Tensor, num_heads: int) -> Tensor:
    into_qkv = torch.empty_like(qkv, memory_format=torch.contiguous_format)
    _launch("backward_kernel", (qkv.contiguous(), gradient.contiguous(), into_qkv), num_heads)
    return into_qkv


@joint_attention.register_fake
def _(qkv: Tensor, num_heads: int) -> Tensor:
    del num_heads
    return qkv.new_empty((*qkv.shape[:-1], qkv.shape[-1] // 3))


@_backward.register_fake
def _(qkv: Tensor, gradient: Tensor, num_heads: int) -> Tensor:
    del gradient, num_heads
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    qkv, ctx.num_heads = inputs
    ctx.save_for_backward(qkv)


def _differentiate(ctx: Any, gradient: Float[Tensor, "*B J D"]) -> tuple[Tensor, None]:
    (qkv,) = ctx.saved_tensors
    return _backward(qkv, gradient, ctx.num_heads), None


joint_attention.register_autograd(_differentiate, setup_context=_keep)
