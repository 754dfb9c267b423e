"""Lifting in float32 and bfloat16, eager and compiled, beside ONNX Runtime: latency and frames per second.

    python -m benchmarks.lifting_speed [--compile] [--batch-sizes 1 16] [model.dim=64 ...]

The encoder with its pose head and random weights, on the GPU if there is one; ONNX Runtime runs the same
graph on the processor.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import RESULTS, write_result
from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.export.model import LangPose
from langpose_dist.export.onnx import OnnxLifter, write_onnx
from langpose_dist.models.lifter import Lifter
from langpose_dist.models.speed import measure_lifting
from langpose_dist.models.weights import weights_header, write_weights


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--compile", action="store_true", help="also through torch.compile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    config = load_config(None, [*arguments.overrides, "task=finetune"])
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            lifter = export(config, Path(folder))
        except UserError as error:
            print(f"without ONNX Runtime: {error}")
            lifter = None
        for batch_size in arguments.batch_sizes:
            for precision in ("float32", "bfloat16"):
                for is_compiled in sorted({False, arguments.compile}):
                    speed = measure_lifting(
                        config,
                        batch_size=batch_size,
                        precision=precision,
                        is_compiled=is_compiled,
                        repeats=arguments.repeats,
                    )
                    rows.append({"runtime": "torch", **dataclasses.asdict(speed)})
            if lifter is not None:
                rows.append(time_onnx(lifter, config, batch_size, arguments.repeats))
    for row in rows:
        compiled = ", compiled" if row.get("is_compiled") else ""
        print(
            f"{row['batch_size']:>4} windows  {row['runtime']:<13}{row['precision']}{compiled:<12}"
            f"{row['milliseconds']:>10.1f} ms{row['frames_per_second']:>12,.0f} frames/s  {row['device']}"
        )
    print(write_result("lifting_speed", {"rows": rows}, arguments, arguments.output))


def export(config: RunConfig, folder: Path) -> OnnxLifter:
    """A model of the configuration as an ONNX file, opened."""
    model = Lifter(config)
    model.limb_total = 4.0
    header = weights_header({"space": config.target.space, "limb_total": "4.0"}, config, {"fps": "30"})
    write_weights(folder / "model.safetensors", model.state_dict(), header)
    write_onnx(folder / "model.onnx", LangPose.open(folder / "model.safetensors"))
    return OnnxLifter(folder / "model.onnx")


def time_onnx(lifter: OnnxLifter, config: RunConfig, batch_size: int, repeats: int) -> dict[str, Any]:
    """Median of calls of ONNX Runtime, after two that are not counted."""
    keypoints = np.random.default_rng(0).random((batch_size, config.window.num_frames, 17, 3), np.float32)
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        lifter.lift_windows(keypoints)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[2:])
    return {
        "runtime": "ONNX Runtime",
        "device": f"CPU, {torch.get_num_threads()} threads of torch",
        "precision": "float32",
        "batch_size": batch_size,
        "milliseconds": median * 1000,
        "frames_per_second": batch_size * config.window.num_frames / median,
    }


if __name__ == "__main__":
    main()
