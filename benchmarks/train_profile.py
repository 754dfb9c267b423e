"""Where the time of a training step goes: the bare step, the real loop around it, and each part of the loop.

    python -m benchmarks.train_profile --data data/shards                # a small model on a CPU
    python -m benchmarks.train_profile --data data/shards --config configs/pretrain/paper.yaml

The bare step is forward, backward, clipping and AdamW on one batch that lies on the device, with the kernels
that the loop takes; it is timed before the loop and after it. The loop is ``langpose train`` itself, in this
process: first without a profiler, for its speed, then with one. On a GPU the table also says what each part
launches, how long the GPU works on it, and how long the GPU stands idle while the processor is in that part.
"""

import argparse
import functools
import pkgutil
import statistics
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._C._autograd import DeviceType
from torch.profiler import profile, record_function

from benchmarks.common import RESULTS, write_result
from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.models.kernels import measure_joint_attention, use_joint_attention
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.tasks.task import load_task, total_loss
from langpose_dist.train.distributed.processes import choose_device
from langpose_dist.train.engine import build_optimizer, resolve_autocast
from langpose_dist.train.run import train
from langpose_dist.train.trainer import Trainer

_ROOT = Path(__file__).parents[1]
_PARTS = {
    "langpose_dist.train.trainer.Trainer._next": "next batch",
    "langpose_dist.train.trainer.Trainer._count": "count labels",
    "langpose_dist.batch.WindowBatch.to": "copy to device",
    "deepspeed.runtime.engine.DeepSpeedEngine.forward": "forward",
    "langpose_dist.train.trainer.total_loss": "weigh terms",
    "deepspeed.runtime.engine.DeepSpeedEngine.backward": "backward",
    "langpose_dist.train.trainer.Trainer._gradient_norm": "gradient norm",
    "langpose_dist.train.distributed.guard.FiniteGuard.watch": "watch for NaN",
    "langpose_dist.train.trainer.Trainer._clip": "clip",
    "deepspeed.runtime.engine.DeepSpeedEngine.step": "AdamW and schedule",
    "langpose_dist.train.trainer.Trainer._log": "log",
}
"""Functions of the loop -> their rows; they do not contain one another."""
_STEP = "step"
_OTHER = "everything else"


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--config", type=Path, default=_ROOT / "configs/pretrain/small.yaml")
    parser.add_argument(
        "--steps", type=int, default=60, help="timed steps of the loop (default: %(default)s)"
    )
    parser.add_argument("--profiled", type=int, default=10, help="profiled steps (default: %(default)s)")
    parser.add_argument("--name", default="train_profile", help="name of the result")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    warm = max(5, arguments.steps // 6)
    total = warm + arguments.steps + arguments.profiled + 1
    with tempfile.TemporaryDirectory() as folder:
        config = load_config(
            arguments.config,
            [
                *(f"data.path={arguments.data}", f"output={folder}/run", "tracking.enabled=false"),
                *("tracking.register_as=null", "evaluation.max_windows=1", "train.evaluate_every=null"),
                *(f"train.max_steps={total}", f"train.checkpoint_every={total}", "optimizer.warmup_steps=1"),
                *arguments.overrides,
            ],
        )
        device = choose_device(config.train, 0)
        step = bare_step(config, device)
        for _ in range(warm):
            step()
        bare = [step_milliseconds(step, device, arguments.steps)]
        loop = profile_loop(config, warm=warm, timed=arguments.steps, profiled=arguments.profiled)
        bare.append(step_milliseconds(step, device, arguments.steps))
    results = {"batch_size": config.train.global_batch_size, "bare_step_ms": statistics.fmean(bare), **loop}
    results["bare_step_ms_before_and_after"] = bare
    results["loop_over_bare_step"] = loop["loop_step_ms"] / results["bare_step_ms"]
    report(results)
    print(write_result(arguments.name, results, arguments, arguments.output))


def bare_step(config: RunConfig, device: torch.device) -> Callable[[], None]:
    """A step on one batch; with ``model.compile``, compiled.

    Raises:
        UserError: If the data cannot be read, or the batch would be cut into micro batches.
    """
    if config.train.micro_batch_size not in (None, config.train.global_batch_size):
        raise UserError("a bare step has one micro batch; leave out train.micro_batch_size")
    task_class = load_task(config.task)
    corpus = task_class.open(config)
    task = task_class.build(config, corpus)
    task.autocast = resolve_autocast(config, device)
    task.to(device).train()
    num_windows = config.train.global_batch_size
    frames = config.window.num_frames
    is_fused, _ = measure_joint_attention(
        task, num_windows=num_windows, num_frames=frames, device=device, dtype=task.autocast
    )
    use_joint_attention(task, is_fused=is_fused)
    if config.model.compile:
        task.compile(mode=config.model.compile_mode)
    windows = corpus.training_set[[(0, index % 8) for index in range(num_windows)]]
    if isinstance(windows, UserError):
        raise windows
    windows = windows.to(device)
    optimizer = build_optimizer(task, config.optimizer, fused=device.type == "cuda")
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]

    def step() -> None:
        total_loss(task(windows), task.weights, {}).mean().backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if config.optimizer.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, config.optimizer.clip_norm, norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def step_milliseconds(step: Callable[[], None], device: torch.device, repeats: int) -> float:
    """Median of five series of steps, within which nothing waits for the device."""
    length, found = max(1, repeats // 5), []
    for _ in range(5):
        _wait(device)
        start = time.perf_counter()
        for _ in range(length):
            step()
        _wait(device)
        found.append((time.perf_counter() - start) * 1000 / length)
    return statistics.median(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def profile_loop(config: RunConfig, *, warm: int, timed: int, profiled: int) -> dict[str, Any]:
    """Train; returns the loop's speed without a profiler, and each part's share with one."""
    profiler = profile(activities=list(torch.profiler.supported_activities()))
    original, moments = Trainer.train_step, list[float]()

    def train_step(trainer: Trainer, batches: Iterator[Any]) -> None:
        if trainer.step in (warm, warm + timed):
            _wait(trainer.processes.device)
            moments.append(time.perf_counter())
        if trainer.step == warm + timed:
            profiler.start()
        with record_function(_STEP):
            original(trainer, batches)
        if trainer.step == warm + timed + profiled:
            _wait(trainer.processes.device)
            profiler.stop()

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Trainer, "train_step", train_step))
        for path, name in _PARTS.items():
            stack.enter_context(mock.patch(path, _labelled(pkgutil.resolve_name(path), name)))
        train(config, NullTracker())
    milliseconds = (moments[1] - moments[0]) * 1000 / timed
    return {
        "loop_step_ms": milliseconds,
        "loop_clips_per_second": config.train.global_batch_size / milliseconds * 1000,
        "parts_per_profiled_step": shares(profiler.events() or [], profiled),
    }


def _labelled(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function inside a range of the profiler."""

    @functools.wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        with record_function(name):
            return function(*words, **named)

    return call


def shares(events: Sequence[Any], num_steps: int) -> dict[str, dict[str, float]]:
    """Per part and step: milliseconds of the processor and of the GPU, launches, and the GPU's idle time.

    Args:
        events: The profiler's.
        num_steps: Steps that it saw.
    """
    names = set(_PARTS.values())
    on_host = [event for event in events if event.device_type == DeviceType.CPU]
    ranges = sorted(
        (event.time_range.start, event.time_range.end, event.name) for event in on_host if event.name in names
    )
    starts = [start for start, _, _ in ranges]
    rows: dict[str, dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(("host", "gpu", "launches", "idle"), 0.0)
    )
    for start, end, name in ranges:
        rows[name]["host"] += end - start
    steps = [event.time_range for event in on_host if event.name == _STEP]
    first, last = min(step.start for step in steps), max(step.end for step in steps)
    rows[_OTHER]["host"] = last - first - sum(row["host"] for row in rows.values())
    for event in on_host:  # a launch knows its part, its kernels know how long they took
        place = bisect_right(starts, event.time_range.start) - 1
        is_inside = place >= 0 and event.time_range.start <= ranges[place][1]
        for kernel in event.kernels:
            row = rows[ranges[place][2] if is_inside else _OTHER]
            row["gpu"] += kernel.duration
            row["launches"] += 1
    for name, idle in _idle(events, ranges, first).items():
        rows[name]["idle"] += idle
    return {
        name: {
            "host_ms": row["host"] / num_steps / 1000,
            "gpu_ms": row["gpu"] / num_steps / 1000,
            "launches": row["launches"] / num_steps,
            "idle_ms": row["idle"] / num_steps / 1000,
        }
        for name, row in rows.items()
    }


def _idle(
    events: Sequence[Any], ranges: Sequence[tuple[float, float, str]], first: float
) -> dict[str, float]:
    """Part of the loop -> microseconds that the GPU stood idle while the processor was in it."""
    # The profiler draws its ranges on the GPU's line too.
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in events
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    idle: dict[str, float] = defaultdict(float)
    busy_until = first
    for start, end in spans:
        if start > busy_until:
            inside = 0.0
            for begin, stop, name in ranges:
                overlap = min(stop, start) - max(begin, busy_until)
                if overlap > 0:
                    idle[name] += overlap
                    inside += overlap
            idle[_OTHER] += start - busy_until - inside
        busy_until = max(busy_until, end)
    return idle


def report(results: dict[str, Any]) -> None:
    """Print the numbers as a table."""
    print(
        f"bare step {results['bare_step_ms']:.2f} ms, loop {results['loop_step_ms']:.2f} ms "
        f"({results['loop_clips_per_second']:.1f} clips/s) = {results['loop_over_bare_step']:.3f} bare steps"
    )
    print(f"{'part':<20}{'host ms':>10}{'GPU ms':>10}{'launches':>10}{'GPU idle ms':>13}")
    for name, row in results["parts_per_profiled_step"].items():
        print(
            f"{name:<20}{row['host_ms']:>10.2f}{row['gpu_ms']:>10.2f}{row['launches']:>10.1f}"
            f"{row['idle_ms']:>13.2f}"
        )


if __name__ == "__main__":
    main()
