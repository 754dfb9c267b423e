"""Operations and bytes of every part of a training step, and the time below which it cannot go.

    python -m benchmarks.budget                          # the paper's model on an H200
    python -m benchmarks.budget --tflops 660 --terabytes 3.35 model.stream=bfloat16

Counts what each part must compute and must read and write at least once, with activations in bfloat16 and
neighbouring element-wise operations fused into one pass: a floor, not a forecast. The peak is that of large
matrix products, as benchmarks/step_time.py measures it.
"""

import argparse
from dataclasses import dataclass

from langpose_dist.config import RunConfig, load_config
from langpose_dist.skeleton import H36M17

_BFLOAT16 = 2
_ADAMW_BYTES = 28 + 12
"""Per parameter: weight, gradient and both moments read, all but the gradient written; clipping besides."""


@dataclass(frozen=True)
class Part:
    """One row of the budget, for forward and backward together."""

    name: str
    flops: float
    num_bytes: float

    def milliseconds(self, tflops: float, terabytes: float) -> float:
        """The longer of computing and moving."""
        return max(self.flops / tflops, self.num_bytes / terabytes) / 1e9


def main() -> None:
    """Print the budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=16, help="clips (default: %(default)s)")
    parser.add_argument(
        "--tflops", type=float, default=764, help="peak of matrix products (default: an H200's)"
    )
    parser.add_argument(
        "--terabytes", type=float, default=4.8, help="TB/s of the memory (default: an H200's)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    parts = budget(load_config(None, arguments.overrides), arguments.batch_size)
    print(table(parts, arguments.batch_size, arguments.tflops, arguments.terabytes))


def budget(config: RunConfig, batch_size: int) -> list[Part]:
    """The parts of a step of the motion encoder with its pose head, and of the optimizer."""
    model, frames, joints = config.model, config.window.num_frames, H36M17.num_joints
    rows, dim, depth = batch_size * frames * joints, model.dim, model.depth
    stages = 4 * depth  # two streams, two stages in each block
    hidden = int(dim * model.mlp_ratio)
    layers = [(dim, 3 * dim), (dim, dim), (dim, hidden), (hidden, dim)] * stages
    layers += [(dim, model.dim_representation)]
    weights = sum(inputs * outputs for inputs, outputs in layers)
    products = Part(
        "matrix products",
        3 * 2 * rows * weights,
        # Forward, towards the input and towards the weight: each reads two of three and writes the third.
        3 * _BFLOAT16 * (rows * sum(map(sum, layers)) + weights),
    )
    # Two products forward and four backward; q, k, v, output and their gradients move once or twice.
    over_joints, over_time = (
        Part(
            f"attention over {name}",
            6 * 2 * rows * length * dim * stages / 2,
            12 * _BFLOAT16 * rows * dim * stages / 2,
        )
        for name, length in (("joints", joints), ("time", frames))
    )
    stream = 2 if model.stream == "bfloat16" else 4
    # A pass adds a branch to the stream and normalises it; backward reads and writes the stream's gradient.
    norms = Part("norms and sums", 0, (5 * stream + 4 * _BFLOAT16) * rows * dim * 2 * stages)
    gelu = Part("GELU", 0, 5 * _BFLOAT16 * rows * hidden * stages)
    optimizer = Part("clipping and AdamW", 0, _ADAMW_BYTES * weights)
    return [products, over_joints, over_time, norms, gelu, optimizer]


def table(parts: list[Part], batch_size: int, tflops: float, terabytes: float) -> str:
    """The budget as Markdown."""
    lines = ["| part | TFLOP | GB | ms at least |", "|---|---|---|---|"]
    for part in parts:
        milliseconds = part.milliseconds(tflops, terabytes)
        lines.append(
            f"| {part.name} | {part.flops / 1e12:.2f} | {part.num_bytes / 1e9:.1f} | {milliseconds:.1f} |"
        )
    total = sum(part.milliseconds(tflops, terabytes) for part in parts)
    flops, num_bytes = sum(part.flops for part in parts), sum(part.num_bytes for part in parts)
    lines.append(
        f"| all, one after the other | {flops / 1e12:.2f} | {num_bytes / 1e9:.1f} | {total:.1f}: "
        f"{batch_size / total * 1000:.0f} clips/s, {flops / total / tflops / 1e9:.0%} of the peak |"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
