"""Choice of kernels by measurement on the device that will run them."""

from collections.abc import Callable

import torch
from torch import nn

from langpose_dist.models.joint_attention import is_available
from langpose_dist.models.layers import SpatialAttention
from langpose_dist.skeleton import H36M17

_REPEATS = 10
_GAIN = 1.05
"""How much faster the project's own kernel must be to be taken."""


def choose_joint_attention(
    model: nn.Module, *, num_windows: int, num_frames: int, device: torch.device, dtype: torch.dtype | None
) -> str:
    """Use the project's own kernel for attention over joints where it is faster than torch's.

    Args:
        model: On ``device``; its layers are switched in place.
        num_windows: Windows per forward pass.
        num_frames: Frames per window.
        device: Only a GPU has a choice.
        dtype: Type of the activations under autocast.

    Returns:
        What was measured, for a person; empty where there was no choice.
    """
    layers = [module for module in model.modules() if isinstance(module, SpatialAttention)]
    if device.type != "cuda" or dtype is None or not layers or layers[0].attention_dropout:
        return ""
    layer, dim = layers[0], layers[0].proj.in_features
    if not is_available(H36M17.num_joints, dim // layer.num_heads, dtype):
        return ""
    x = torch.randn(num_windows, num_frames, H36M17.num_joints, dim, device=device, requires_grad=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype):
            layer(x).sum().backward()

    milliseconds = {}
    for is_fused in (False, True):
        layer.is_fused = is_fused
        milliseconds[is_fused] = _milliseconds(step)
    model.zero_grad(set_to_none=True)
    is_faster = milliseconds[False] > _GAIN * milliseconds[True]
    for each in layers:
        each.is_fused = is_faster
    return (
        f"attention over joints: {milliseconds[True]:.2f} ms with the project's kernel, "
        f"{milliseconds[False]:.2f} ms with torch's"
    )


def _milliseconds(function: Callable[[], None]) -> float:
    """Time of a call on the GPU, after a few that compile and warm up."""
    for _ in range(3):
        function()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(_REPEATS):
        function()
    after.record()
    after.synchronize()
    return before.elapsed_time(after) / _REPEATS
