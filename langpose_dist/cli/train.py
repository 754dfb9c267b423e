"""``langpose train``, and the same training as the launcher's target."""

import argparse
import json
import os
import sys
from pathlib import Path

from langpose_dist.cli.arguments import add_config_arguments, add_resume_options
from langpose_dist.config import RunConfig, describe_keys, load_config
from langpose_dist.host.console import EXIT_INTERRUPTED, best_effort_output, say
from langpose_dist.host.redaction import redact
from langpose_dist.runs.folder import RunFolder
from langpose_dist.train.distributed.stop import Interrupted, StopRequest

_EXAMPLES = """examples:
  langpose train --config configs/pretrain/small.yaml data.path=data/bandai output=runs/small
  deepspeed --num_gpus 2 launch/train.py --config configs/pretrain/small.yaml data.path=data/bandai
  langpose train --config configs/pretrain/small.yaml output=runs/small --resume
  langpose train --config configs/finetune/open.yaml model.initial_weights=models:/langpose-small@champion

Exit status: 0 finished; 75 asked to stop (SIGTERM, SIGINT, SIGUSR1, a file named stop in the run's folder,
the launcher's end) with a checkpoint of where it was; 1 failed; 2 a mistake in what was asked for, all of
them in one report. status.json in the run's folder says the same.

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
    add_resume_options(parser)
    parser.add_argument(
        "--strict", action="store_true", help="with --resume: refuse where the newest checkpoint is damaged"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    # The deepspeed launcher passes it; the same number is in the environment.
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Train; rank 0 reports."""
    config = load_config(arguments.config, arguments.overrides)
    if config.model.initial_weights is not None:
        from langpose_dist.tracking.registry.weights import with_initial_weights

        config = with_initial_weights(config)
    request: StopRequest | None = None
    try:
        with best_effort_output():
            request = StopRequest(_stop_file(config), grace=config.train.stop_grace)
            return _run(arguments, config, request)
    except Interrupted as stop:
        if _is_main():
            say(f"interrupted by {stop}")
        return EXIT_INTERRUPTED
    finally:
        if request is not None:
            request.close()


def _run(arguments: argparse.Namespace, config: RunConfig, request: StopRequest) -> int:
    from langpose_dist.tracking.factory import build_tracker
    from langpose_dist.train.distributed.guard import TrainingError
    from langpose_dist.train.preflight import PreflightError
    from langpose_dist.train.run import train

    try:
        result = train(
            config, build_tracker(config), resume=arguments.resume, strict=arguments.strict, request=request
        )
    except PreflightError as refusal:
        if _is_main() and not refusal.is_told:
            raise
        return 2
    except TrainingError as error:
        print(f"langpose: error: {redact(str(error))}", file=sys.stderr)
        return 1
    if result is not None and arguments.json:
        outcome = {"weights": str(result.weights), "registered": result.registered, **result.record}
        print(json.dumps({**outcome, "evaluation": result.evaluation}, indent=2))
    elif result is not None:
        print(f"weights: {result.weights}")
        print(f"evaluation: {result.run_dir / 'evaluation.json'}")
        if result.record:
            run_id = result.record.get("run_id", "not there yet")
            print(f"MLflow run: {run_id} at {result.record['tracking_uri']}")
        if result.registered is not None:
            print(
                f"registered: {result.registered}, "
                f"models:/{config.tracking.register_as}@{config.tracking.alias}"
            )
    return 0


def _stop_file(config: RunConfig) -> Path | None:
    """Rank 0 watches the run's folder for all."""
    return RunFolder(config.output).stop if _is_main() else None


def _is_main() -> bool:
    return "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0"
