"""Time of one full-size training step, beside the same model with plain eager attention.

    python -m benchmarks.step_time                                     # CPU: one clip, forward and backward
    python -m benchmarks.step_time --device cuda --compile             # GPU: 16 clips, bfloat16, with AdamW

All variants have the same weights, and their outputs are compared before anything is timed. On a GPU they
are also the kernel over joints, the bfloat16 residual stream and, with --compile, both compiled, with and
without CUDA graphs; with --precision float32 bfloat16 the first row is MotionBERT's way as it is published.
Steps of the models take turns, so that a machine that slows down does so for all. The matrix peak is measured
in the same run, as the rate of one large product in the same precision.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import RESULTS, write_result
from langpose_dist.config import RunConfig, load_config
from langpose_dist.models.dstformer import DSTformer
from langpose_dist.models.layers import SpatialAttention
from langpose_dist.models.summary import summarize

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_LARGEST_ERROR = {"float32": 1e-4, "bfloat16": 5e-2}  # relative, of the lifted poses


class EagerAttention(nn.Module):
    """Attention as it is commonly written: one qkv product, permuted copies, an explicit softmax."""

    def __init__(self, dim: int, num_heads: int, *, over_time: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.over_time = over_time
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the frames of each joint, or the joints of each frame."""
        B, T, J, D = x.shape
        qkv = self.qkv(x).reshape(B, T, J, 3, self.num_heads, D // self.num_heads)
        order = (3, 0, 4, 2, 1, 5) if self.over_time else (3, 0, 4, 1, 2, 5)
        q, k, v = qkv.permute(order)  # each B H J T d, or B H T J d
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        back = (0, 3, 2, 1, 4) if self.over_time else (0, 2, 3, 1, 4)
        return self.proj((weights @ v).permute(back).reshape(B, T, J, D))


class EagerFusion(nn.Linear):
    """The two streams joined, a linear layer, a softmax."""

    def __init__(self, dim: int) -> None:
        super().__init__(2 * dim, 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A convex combination of the streams."""
        weights = super().forward(torch.cat((first, second), dim=-1)).softmax(dim=-1)
        return first * weights[..., :1] + second * weights[..., 1:]


def build_eager(encoder: DSTformer) -> DSTformer:
    """The same model with plain attention and fusion in place of ours."""
    config = encoder.config
    eager = DSTformer(config, num_frames=encoder.num_frames, num_joints=encoder.num_joints)
    for block in (*eager.blocks_st, *eager.blocks_ts):
        block.attn_s = EagerAttention(config.dim, config.num_heads, over_time=False)
        block.attn_t = EagerAttention(config.dim, config.num_heads, over_time=True)
    eager.ts_attn = nn.ModuleList(EagerFusion(config.dim) for _ in range(config.depth))
    eager.load_state_dict(encoder.state_dict())
    return eager


def make_step(
    forward: Callable[[Tensor], Tensor], encoder: DSTformer, keypoints: Tensor, precision: str, *, adamw: bool
) -> Callable[[], Tensor]:
    """One training step; returns the lifted poses."""
    device_type = keypoints.device.type
    optimizer = torch.optim.AdamW(encoder.parameters(), fused=True) if adamw else None

    def step() -> Tensor:
        encoder.zero_grad(set_to_none=True)
        with torch.autocast(device_type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            poses = encoder.lift(forward(keypoints))
        poses.square().mean().backward()
        if optimizer is not None:
            optimizer.step()
        return poses.detach()

    return step


def seconds_of(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call; on a GPU the time between events around it."""
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    function()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1000


_SLOW_PRODUCT = 0.1
"""Seconds of a matrix product from which on no larger one is tried."""


def measure_matrix_peak(device: torch.device, precision: str) -> float:
    """TFLOP/s of one large matrix product, the best of ten.

    As large as suits the device, and smaller where it is slow: bfloat16 on a processor without units for it
    would take minutes.
    """
    size, largest = 512, 8192 if device.type == "cuda" else 2048
    while True:
        a, b = (torch.randn(size, size, device=device, dtype=_DTYPES[precision]) for _ in range(2))
        torch.matmul(a, b)
        if size == largest or seconds_of(lambda a=a, b=b: torch.matmul(a, b), device) > _SLOW_PRODUCT:
            break
        size *= 2
    return 2 * size**3 / min(seconds_of(lambda: torch.matmul(a, b), device) for _ in range(10)) / 1e12


def _further(
    device: torch.device, precision: str, *, compile_too: bool
) -> dict[str, tuple[dict[str, str], str | None, bool]]:
    """Variant -> changes of the model's configuration, mode of torch.compile, own kernel over joints."""
    if device.type != "cuda" or precision != "bfloat16":
        return {"ours_compiled": ({}, "default", False)} if compile_too else {}
    stream = {"stream": "bfloat16"}
    variants: dict[str, tuple[dict[str, str], str | None, bool]] = {
        "kernel_stream": (stream, None, True),
    }
    if compile_too:
        variants |= {
            "ours_compiled": ({}, "default", False),
            "kernel_stream_compiled": (stream, "default", True),
            "kernel_stream_graphs": (stream, "reduce-overhead", True),
        }
    return variants


def measure(
    config: RunConfig,
    device: torch.device,
    precision: str,
    *,
    batch_size: int,
    repeats: int,
    warmup: int,
    adamw: bool,
    compile_too: bool,
) -> Iterator[dict[str, Any]]:
    """Median step times of every variant in one precision, anew after every round of steps.

    A variant that does not run, or does not compute the same as the others, is named and not timed.
    """
    torch.manual_seed(0)
    encoder = DSTformer(config.model, num_frames=config.window.num_frames).to(device)
    with torch.no_grad():  # zero fusion weights would hide a mistake in the fusion
        for fusion in encoder.ts_attn:
            for parameter in fusion.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    keypoints = torch.rand(batch_size, config.window.num_frames, 17, 3, device=device) * 2 - 1
    eager = build_eager(encoder).to(device)
    models: dict[str, tuple[Callable[[Tensor], Tensor], DSTformer]] = {
        "eager": (eager, eager),
        "ours": (encoder, encoder),
    }
    for name, (words, mode, is_fused) in _further(device, precision, compile_too=compile_too).items():
        # A copy, as AdamW changes the weights of each variant by itself.
        changed = config.model.model_copy(update=words)
        copy = DSTformer(changed, num_frames=config.window.num_frames).to(device)
        copy.load_state_dict(encoder.state_dict())
        for layer in copy.modules():
            if isinstance(layer, SpatialAttention):
                layer.is_fused = is_fused
        models[name] = (copy if mode is None else torch.compile(copy, mode=mode), copy)
    steps = {
        name: make_step(forward, model, keypoints, precision, adamw=adamw)
        for name, (forward, model) in models.items()
    }

    eager_poses = steps["eager"]()  # before any optimizer update is seen
    errors, failures = {"eager": 0.0}, dict[str, str]()
    for name, step in steps.items():
        if name == "eager":
            continue
        try:
            errors[name] = ((step() - eager_poses).norm() / eager_poses.norm()).item()
        except Exception as error:  # a kernel that does not run here is a result too
            failures[name] = f"{type(error).__name__}: {error}"
        else:
            if not errors[name] < _LARGEST_ERROR[precision]:
                failures[name] = f"differs from eager by {errors[name]:.2g}"
    steps = {name: step for name, step in steps.items() if name not in failures}
    times: dict[str, list[float]] = {name: [] for name in steps}
    encoder_parts = summarize(config, batch_size).parts[:2]  # the encoder and its pose head
    result: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "tflop_per_step": sum(part.flops_step for part in encoder_parts) / 1e12,
        "matrix_peak_tflops_per_second": measure_matrix_peak(device, precision),
        "failed": failures,
    }
    for repeat in range(-warmup, repeats):
        for name, step in steps.items():
            elapsed = seconds_of(step, device)
            if repeat >= 0:
                times[name].append(elapsed)
        if repeat >= 0:
            yield result | {"variants": _variants(times, errors, result, batch_size), **_peak_memory(device)}


def _variants(
    times: Mapping[str, Sequence[float]],
    errors: Mapping[str, float],
    result: Mapping[str, Any],
    batch_size: int,
) -> dict[str, dict[str, Any]]:
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = {}
    for name, seconds in medians.items():
        tflops = result["tflop_per_step"] / seconds
        rows[name] = {
            "seconds_median": seconds,
            "seconds_all": list(times[name]),
            "clips_per_second": batch_size / seconds,
            "tflops_per_second": tflops,
            "share_of_matrix_peak": tflops / result["matrix_peak_tflops_per_second"],
            "speed_up_over_eager": medians["eager"] / seconds,
            "relative_error_to_eager": errors[name],
        }
    return rows


def _peak_memory(device: torch.device) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    return {"peak_memory_gib_of_all_variants": torch.cuda.max_memory_allocated(device) / 2**30}


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, help="clips per step; default: 1 on CPU, 16 on a GPU")
    parser.add_argument(
        "--precision", nargs="+", choices=tuple(_DTYPES), help="default: both on CPU, bfloat16 on a GPU"
    )
    parser.add_argument(
        "--adamw", action=argparse.BooleanOptionalAction, help="update the weights too; default: on a GPU"
    )
    parser.add_argument("--compile", action="store_true", help="also time our model under torch.compile")
    parser.add_argument("--repeats", type=int, help="default: 3 on CPU, 20 on a GPU")
    parser.add_argument("--warmup", type=int, help="untimed steps; default: 1 on CPU, 5 on a GPU")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example model.depth=1")
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device here")
    defaults: dict[str, Any] = {
        "batch_size": 16 if on_gpu else 1,
        "precision": ["bfloat16"] if on_gpu else ["float32", "bfloat16"],
        "adamw": on_gpu,
        "repeats": 20 if on_gpu else 3,
        "warmup": 5 if on_gpu else 1,
    }
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)

    config = load_config(None, arguments.overrides)
    results: dict[str, Any] = {}
    for precision in arguments.precision:
        for result in measure(
            config,
            torch.device(arguments.device),
            precision,
            batch_size=arguments.batch_size,
            repeats=arguments.repeats,
            warmup=arguments.warmup,
            adamw=arguments.adamw,
            compile_too=arguments.compile,
        ):
            results[precision] = result
            write_result(f"step_time_{arguments.device}", results, arguments, arguments.output)
        result = results[precision]
        print(
            f"{precision}: {result['parameters']:,} parameters, {result['tflop_per_step']:.3f} TFLOP a step, "
            f"matrix peak {result['matrix_peak_tflops_per_second']:.3g} TFLOP/s"
        )
        for name, row in result["variants"].items():
            print(
                f"  {name:<24}{row['seconds_median']:>9.4f} s{row['clips_per_second']:>10.3f} clips/s"
                f"{row['tflops_per_second']:>9.3f} TFLOP/s{row['share_of_matrix_peak']:>8.1%} of peak"
                f"{row['speed_up_over_eager']:>7.2f} x eager",
                flush=True,
            )
        for name, problem in result["failed"].items():
            print(f"  {name:<24}failed: {problem}")
    print(arguments.output / f"step_time_{arguments.device}.json")


if __name__ == "__main__":
    main()
