"""Latency and throughput of lifting, measured on this machine."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from langpose_dist.config import RunConfig
from langpose_dist.host.environment import describe_environment
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.layers import without_autocast
from langpose_dist.models.summary import ModelSummary
from langpose_dist.skeleton import H36M17

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Speed:
    """Lifting of one batch of windows, keypoints to poses."""

    device: str
    precision: Precision
    is_compiled: bool
    batch_size: int
    milliseconds: float
    """Median."""
    frames_per_second: float
    peak_memory_bytes: int | None
    """Of the GPU; ``None`` on a CPU."""


@torch.inference_mode()
def measure_lifting(
    config: RunConfig, *, batch_size: int, precision: Precision, is_compiled: bool = False, repeats: int = 5
) -> Speed:
    """Time the encoder with its pose head on random keypoints; on the GPU, if there is one.

    Args:
        config: Architecture and window.
        batch_size: Windows at a time.
        precision: Type of the activations.
        is_compiled: Through torch.compile; its time is not counted.
        repeats: Timed calls, after two that are not.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if precision == "bfloat16" else None
    frames = config.window.num_frames
    encoder = DSTformer(config.model, num_frames=frames).to(device).eval()
    lift = torch.compile(encoder.lift_windows, dynamic=False) if is_compiled else encoder.lift_windows
    keypoints = torch.rand(batch_size, frames, H36M17.num_joints, 3, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def call() -> None:
        with torch.autocast(device.type, dtype=dtype) if dtype else without_autocast(device.type):
            lift(keypoints)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    seconds = statistics.median([_seconds(call) for _ in range(repeats + 2)][2:])
    return Speed(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        precision=precision,
        is_compiled=is_compiled,
        batch_size=batch_size,
        milliseconds=seconds * 1000,
        frames_per_second=batch_size * frames / seconds,
        peak_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def measure_speeds(config: RunConfig, batch_size: int) -> list[Speed]:
    """Time one window and ``batch_size`` windows, in either precision."""
    return [
        measure_lifting(config, batch_size=size, precision=precision)
        for precision in ("float32", "bfloat16")
        for size in sorted({1, batch_size})
    ]


def describe_cost(config: RunConfig, summary: ModelSummary, speeds: Sequence[Speed]) -> dict[str, Any]:
    """Parameters, operations and speeds with their configuration and commit; fit for JSON."""
    environment = describe_environment()
    return {
        "config_hash": config.hash(),
        "commit": environment["git_commit"],
        "commit_dirty": environment["git_dirty"],
        **asdict(summary),
        "total": asdict(summary.total),
        "speeds": [asdict(speed) for speed in speeds],
    }


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
