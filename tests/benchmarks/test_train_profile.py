from types import SimpleNamespace
from typing import Any

import pytest
from torch._C._autograd import DeviceType

from benchmarks.train_profile import shares


def event(name: str, start: float, end: float, *, on_gpu: bool = False, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        time_range=SimpleNamespace(start=start, end=end),
        device_type=DeviceType.CUDA if on_gpu else DeviceType.CPU,
        **{"kernels": [], "is_user_annotation": False, **more},
    )


def test_each_part_gets_its_own_time_and_the_idle_time_of_the_gpu_meanwhile() -> None:
    kernel = SimpleNamespace(duration=30_000)
    events = [
        event("step", 0, 100_000),
        event("next batch", 0, 60_000),
        event("forward", 60_000, 70_000),
        event("launch", 65_000, 66_000, kernels=[kernel]),
        # The profiler draws the step on the GPU's line too; only the kernel works.
        event("step", 0, 100_000, on_gpu=True, is_user_annotation=True),
        event("kernel", 66_000, 96_000, on_gpu=True),
    ]
    rows = shares(events, 1)
    assert rows["next batch"] == {"host_ms": 60, "gpu_ms": 0, "launches": 0, "idle_ms": 60}
    assert rows["forward"] == {"host_ms": 10, "gpu_ms": 30, "launches": 1, "idle_ms": 6}
    assert rows["everything else"]["host_ms"] == pytest.approx(30)
