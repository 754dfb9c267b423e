"""The kernel for attention over joints: its numbers in Triton's interpreter, and its code for real GPUs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton has no build for this platform")
ROOT = Path(__file__).parents[2]


def _run(code: str, *words: str, **environment: str) -> str:
    """Output of a process of its own, where no shape check wraps the kernels."""
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_NUMBERS = """
import sys, torch
from langpose_dist.models.joint_attention import joint_attention

joints, dim, heads, frames, dtype = *map(int, sys.argv[1:5]), getattr(torch, sys.argv[5])
torch.manual_seed(0)
qkv = torch.randn(2, frames, joints, 3 * dim).to(dtype).requires_grad_()
exact = qkv.detach().double().requires_grad_()
q, k, v = exact.view(2, frames, joints, 3, heads, dim // heads).movedim(3, 0).transpose(3, 4)
weights = (q @ k.transpose(-1, -2) * (dim // heads) ** -0.5).softmax(dim=-1)
expected = (weights @ v).transpose(2, 3).reshape(2, frames, joints, dim)
found = joint_attention(qkv, heads)
upstream = torch.randn_like(expected)
found.backward(upstream.to(dtype))
expected.backward(upstream)
print((found - expected).abs().max().item(), (qkv.grad - exact.grad).abs().max().item())
"""


@pytest.mark.parametrize(
    ("joints", "dim", "heads", "frames", "dtype", "tolerance"),
    [
        (17, 64, 2, 5, "float32", 2e-6),  # a last tile that is not full
        (17, 64, 1, 3, "float32", 2e-6),  # exactly one tile for each window
        (5, 32, 2, 1, "float32", 2e-6),
        (64, 16, 1, 2, "float32", 2e-6),  # a frame fills its tile
        (17, 64, 4, 4, "float16", 4e-3),
    ],
)
def test_kernel_agrees_with_plain_attention_and_its_gradient(
    joints: int, dim: int, heads: int, frames: int, dtype: str, tolerance: float
) -> None:
    found = _run(_NUMBERS, *map(str, (joints, dim, heads, frames)), dtype, TRITON_INTERPRET="1")
    assert max(map(float, found.split())) < tolerance


_COMPILE = """
import os, subprocess, sys, tempfile
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from langpose_dist.models import joint_attention, joint_kernels

kernel, architecture = getattr(joint_kernels, sys.argv[1]), int(sys.argv[2])
sizes = {"J": 17, "D": 512, "d": 64, "TILE": joint_attention.TILE}
kinds = {"num_rows": "i32", "scale": "fp32", **dict.fromkeys(sizes, "constexpr")}
signature = {name: kinds.get(name, "*bf16") for name in kernel.arg_names}
aligned = {(n,): [["tt.divisibility", 16]] for n, kind in enumerate(signature.values()) if kind == "*bf16"}
options = {"num_warps": joint_attention.NUM_WARPS}
source = ASTSource(kernel, signature, sizes, aligned)
compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
    file.write(compiled.asm["ptx"])
    file.flush()
    assembler = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    target = f"-arch=sm_{architecture}" + ("a" if architecture == 90 else "")
    command = [assembler, "-v", target, file.name, "-o", os.devnull]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stderr)
print("shared memory", compiled.metadata.shared)
"""


@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize("kernel", ["forward_kernel", "backward_kernel"])
def test_kernel_compiles_for_a_gpu_without_spilling_registers(kernel: str, architecture: int) -> None:
    told = _run(_COMPILE, kernel, str(architecture))
    assert re.search(r"\b0 bytes spill stores", told), told
    registers, shared = (int(re.findall(pattern, told)[0]) for pattern in (r"Used (\d+)", r"memory (\d+)"))
    assert registers * 128 <= 65536 / 2  # two blocks of four warps or more on a multiprocessor
    assert shared <= 48 * 1024


def test_a_layer_asks_the_kernel_only_where_it_is_switched_to(monkeypatch: pytest.MonkeyPatch) -> None:
    from langpose_dist.models import layers

    attention = layers.SpatialAttention(32, 2, dropout=0.0)
    asked = []
    monkeypatch.setattr(layers, "joint_attention", lambda qkv, heads: asked.append(heads) or qkv[..., :32])
    x = torch.randn(1, 2, 17, 32)
    attention(x)
    assert not asked
    attention.is_fused = True
    attention(x)
    assert asked == [2]
