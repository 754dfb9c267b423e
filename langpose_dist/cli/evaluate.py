"""``langpose evaluate``: the numbers of a trained model."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from langpose_dist.config import UserError
from langpose_dist.host.arguments import local_path
from langpose_dist.metrics.table import METRICS

_EXAMPLES = """examples:
  langpose evaluate --run runs/small
  langpose evaluate --run runs/small evaluation.conditions=[clean] --json
  langpose evaluate --weights model.safetensors data.path=data/bandai --out evaluation.json
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "evaluate",
        help="pose errors and label retrieval of a trained model",
        description="Evaluate on every window of the validation split: exact, noisy and masked 2D input.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", metavar="DIR", type=local_path, help="folder of a finished run")
    source.add_argument("--weights", metavar="FILE", type=local_path, help="exported model.safetensors")
    parser.add_argument(
        "--out", metavar="FILE", type=local_path, help="write the report as JSON to this file too"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override, such as data.path=data/bandai"
    )
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and report."""
    from langpose_dist.train.evaluate_weights import evaluate_weights, read_run

    weights = read_run(arguments.run)[0] if arguments.run else arguments.weights
    if arguments.out is not None and (arguments.out.is_dir() or not arguments.out.parent.is_dir()):
        raise UserError(
            f"--out {arguments.out} must be a file in a folder that exists; this one does not exist"
        )
    report = evaluate_weights(weights, arguments.overrides).report
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2), encoding="utf-8")
    print(json.dumps(report, indent=2) if arguments.json else describe(report))
    return 0


def describe(report: Mapping[str, Any]) -> str:
    """The numbers as a table for a person."""
    rows = {
        **report["conditions"],
        "mean pose": report.get("mean_pose", {}),
        "chance": report.get("chance", {}),
    }
    given = {name for values in rows.values() for name in values}
    names = [row.name for row in METRICS.values() if row.name in given and row.kind in ("pose", "retrieval")]
    lines = [" ".join([f"{report['split']:12}", *(f"{name:>11}" for name in names)])]
    for title, values in rows.items():
        cells = [f"{values[name]:11.3f}" if name in values else f"{'-':>11}" for name in names]
        lines.append(" ".join([f"{title:12}", *cells]))
    labels = f", {report['num_labels']} labels" if "num_labels" in report else ""
    lines.append(
        f"{report['num_windows']} windows, {report['num_frames']} frames of {report['dataset']} "
        f"({report['data_fingerprint'][:16]}){labels}; 2D input: {report['source_2d']}; "
        f"configuration {report['config_hash']}, commit {report['commit'][:12]}"
    )
    return "\n".join(lines)
