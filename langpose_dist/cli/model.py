"""``langpose model``: what a configuration's model consists of."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from langpose_dist.config import load_config
from langpose_dist.host.arguments import count, local_path

if TYPE_CHECKING:
    from langpose_dist.models.summary import ModelSummary


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    """Add ``model`` to the command line."""
    parser = subparsers.add_parser("model", help="what the model consists of")
    commands = parser.add_subparsers(title="commands", dest="model_command", metavar="COMMAND", required=True)
    summary = commands.add_parser(
        "summary", help="parameters and FLOPs of each part, counted without allocating the model"
    )
    summary.add_argument(
        "--config",
        type=local_path,
        metavar="FILE",
        action="append",
        help="YAML file or files; default: the paper's model",
    )
    summary.add_argument(
        "overrides", nargs="*", metavar="key=value", help="overrides, for example model.depth=3"
    )
    summary.add_argument("--batch-size", type=count, default=1, metavar="N", help="windows (default: 1)")
    summary.add_argument(
        "--measure",
        action="store_true",
        help="also time lifting of one window and of --batch-size windows here, on the GPU if there is one",
    )
    summary.add_argument("--json", action="store_true", help="print the report as JSON")
    summary.set_defaults(handler=run_summary)


def run_summary(arguments: argparse.Namespace) -> int:
    """Print the summary."""
    config = load_config(arguments.config, arguments.overrides)

    from langpose_dist.models.speed import describe_cost, measure_speeds
    from langpose_dist.models.summary import summarize

    summary = summarize(config, arguments.batch_size)
    speeds = measure_speeds(config, arguments.batch_size) if arguments.measure else []
    if arguments.json:
        print(json.dumps(describe_cost(config, summary, speeds), indent=2))
    else:
        print(_table(summary))
        for speed in speeds:
            memory = speed.peak_memory_bytes
            print(
                f"lifting {speed.batch_size} x {summary.num_frames} frames in {speed.precision} on "
                f"{speed.device}: {speed.milliseconds:.1f} ms, {speed.frames_per_second:,.0f} frames a second"
                + (f", {memory / 2**30:.2f} GiB at most" if memory else "")
            )
    return 0


def _table(summary: "ModelSummary") -> str:
    lines = [
        f"{summary.batch_size} x {summary.num_frames} frames",
        f"{'part':<14}{'parameters':>14}{'trainable':>14}{'GFLOP forward':>16}{'GFLOP step':>14}",
    ]
    lines += [
        f"{part.name:<14}{part.parameters:>14,}{part.trainable:>14,}"
        f"{part.flops_forward / 1e9:>16.3f}{part.flops_step / 1e9:>14.3f}"
        for part in (*summary.parts, summary.total)
    ]
    return "\n".join((*lines, *summary.notes))
