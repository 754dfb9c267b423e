"""``langpose train``, and the same training as the launcher's target."""

import argparse
import json
import re
import sys
from collections.abc import Sequence

from langpose_dist.config import RunConfig, describe_keys, load_config

_EXAMPLES = """examples:
  langpose train --config configs/pretrain/small.yaml data.path=data/bandai output=runs/small
  deepspeed --num_gpus 2 launch/train.py --config configs/pretrain/small.yaml data.path=data/bandai
  langpose train --config configs/pretrain/small.yaml output=runs/small --resume

keys, with their defaults:
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "train",
        help="train a model",
        description="Train on the processes of a launcher, or on this one alone where there is no launcher.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES
        + "\n".join(f"  {key}={default}\n      {text}" for key, default, text in describe_keys()),
    )
    add_config_arguments(parser)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in the run's folder"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    # The deepspeed launcher passes it; the same number is in the environment.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(handler=run)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config FILE`` and overrides, the same on every command that takes a configuration."""
    parser.add_argument("--config", metavar="FILE", help="YAML file with what differs from the defaults")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override, such as loss.temperature=0.05"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; rank 0 reports."""
    config = load_config(arguments.config, arguments.overrides)

    from langpose_dist.train.guard import TrainingError
    from langpose_dist.train.run import train

    try:
        result = train(config, _build_tracker(config), resume=arguments.resume)
    except TrainingError as error:
        print(f"langpose: error: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        # Gloo's words where another rank ended first; that one has said why.
        if not re.search(r"Connection (closed|reset) by peer", str(error)):
            raise
        print(
            "langpose: error: another rank ended, so this one cannot go on; go on with --resume",
            file=sys.stderr,
        )
        return 1
    if result is not None and arguments.json:
        outcome = {"weights": str(result.weights), "registered": result.registered, **result.record}
        print(json.dumps({**outcome, "evaluation": result.evaluation}, indent=2))
    elif result is not None:
        print(f"weights: {result.weights}")
        print(f"evaluation: {result.run_dir / 'evaluation.json'}")
        if result.record:
            print("MLflow run: {run_id} at {tracking_uri}".format(**result.record))
        if result.registered is not None:
            print(
                f"registered: {result.registered}, "
                f"models:/{config.tracking.register_as}@{config.tracking.alias}"
            )
    return 0


def _build_tracker(config: RunConfig):
    from langpose_dist.train.tracker import NullTracker

    if not config.tracking.enabled:
        return NullTracker()
    from langpose_dist.tracking.runs import MLflowTracker

    return MLflowTracker(config.tracking)


def main(argv: Sequence[str] | None = None) -> int:
    """``langpose train`` with these arguments."""
    from langpose_dist.cli.main import main as langpose

    return langpose(["train", *(sys.argv[1:] if argv is None else argv)])
