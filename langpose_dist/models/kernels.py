"""Choice of kernels by measurement on the device that will run them."""

import torch
from torch import Tensor, nn

from langpose_dist.models.joint_attention import is_available
from langpose_dist.models.layers import SpatialAttention
from langpose_dist.skeleton import H36M17

_REPEATS = 10
_GAIN = 1.05
"""Speed over the library's from which on the project's own kernel is taken."""
_MAX_DIFFERENCE = 0.02
"""Largest relative difference of output and gradient from torch's kernel; bfloat16 keeps 8 bits."""


def measure_joint_attention(
    model: nn.Module, *, num_windows: int, num_frames: int, device: torch.device, dtype: torch.dtype | None
) -> tuple[bool, str]:
    """Find out whether the project's own kernel for attention over joints serves better than torch's here.

    Args:
        model: On ``device``; left as it was.
        num_windows: Windows per forward pass.
        num_frames: Frames per window.
        device: Only a GPU has a choice.
        dtype: Type of the activations under autocast.

    Returns:
        The answer, and a line for a person; empty where there was no choice.
    """
    layer = next((module for module in model.modules() if isinstance(module, SpatialAttention)), None)
    if device.type != "cuda" or dtype is None or layer is None or layer.attention_dropout:
        return False, ""
    dim = layer.proj.in_features
    if not is_available(H36M17.num_joints, dim // layer.num_heads, dtype):
        return False, ""
    x = torch.randn(num_windows, num_frames, H36M17.num_joints, dim, device=device, requires_grad=True)
    found = {}
    try:
        for is_fused in (False, True):
            layer.is_fused = is_fused
            found[is_fused] = _run(layer, x, dtype)
    except Exception as error:  # no compiler for Triton, or a GPU that it does not know
        return False, f"attention over joints: torch's kernel; the project's does not run here: {error}"
    finally:
        layer.is_fused = False
        model.zero_grad(set_to_none=True)
    (output, gradient, plain_ms), (our_output, our_gradient, our_ms) = found[False], found[True]
    difference = max(_difference(our_output, output), _difference(our_gradient, gradient))
    told = f"attention over joints: {our_ms:.2f} ms with the project's kernel, {plain_ms:.2f} ms with torch's"
    if not difference < _MAX_DIFFERENCE:
        return False, f"{told}, from which it differs by {difference:.2g}: not used"
    return plain_ms > _GAIN * our_ms, told


def use_joint_attention(model: nn.Module, *, is_fused: bool) -> None:
    """Switch all layers of a model."""
    for module in model.modules():
        if isinstance(module, SpatialAttention):
            module.is_fused = is_fused


def _run(layer: SpatialAttention, x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    """Output, gradient towards ``x``, and the milliseconds of both passes, after some that warm up."""

    def step() -> Tensor:
        x.grad = None
        with torch.autocast(x.device.type, dtype=dtype):
            output = layer(x)
        output.float().square().mean().backward()
        return output.detach()

    for _ in range(3):
        step()
    output = step()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    for _ in range(_REPEATS):
        step()
    after.record()
    after.synchronize()
    assert x.grad is not None
    return output, x.grad, before.elapsed_time(after) / _REPEATS


def _difference(ours: Tensor, plain: Tensor) -> float:
    return float((ours.float() - plain.float()).norm() / plain.float().norm())
