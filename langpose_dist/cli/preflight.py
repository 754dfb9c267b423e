"""``langpose preflight``: what would stand in the way of a run, before anything is started."""

import argparse
import json

from langpose_dist.cli.arguments import add_config_arguments, add_resume_options
from langpose_dist.config import load_config
from langpose_dist.host.arguments import count

_EXAMPLES = """examples:
  langpose preflight --config configs/pretrain/paper.yaml --ranks 16 data.path=/shared/shards
  langpose preflight --config configs/pretrain/paper.yaml --config configs/deepspeed/zero2.yaml --ranks 8

Training makes the same checks by itself, on every node, and compares the nodes besides: versions, commit,
configuration, and whether they see the same output folder.

The checks are those of the machine that runs them: on a node without a GPU train.device=cuda is refused, and
the disk, the text encoder and the packages are its own. Ask on a machine like those that will train.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "preflight",
        help="check a run's batch sizes, data, output, disk and tracking without starting it",
        description="All that training checks on this machine before it takes a device, in one report.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES,
    )
    add_config_arguments(parser)
    add_resume_options(parser)
    parser.add_argument("--ranks", type=count, default=1, metavar="N", help="ranks of the run (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Report every problem; 2 if there is one."""
    config = load_config(arguments.config, arguments.overrides)

    from langpose_dist.tasks.task import load_task
    from langpose_dist.tracking.factory import build_tracker
    from langpose_dist.tracking.registry.weights import with_initial_weights
    from langpose_dist.train.engine import micro_batch_size
    from langpose_dist.train.memory import estimate_memory, gpu_memory
    from langpose_dist.train.preflight import check_here, raise_problems
    from langpose_dist.train.start import will_resume

    config = with_initial_weights(config)
    is_resumed = will_resume(config.output, arguments.resume)
    problems = check_here(config, arguments.ranks, build_tracker(config), is_resumed=is_resumed)
    memory = None
    if not problems and config.train.device != "cpu":
        memory = estimate_memory(config, arguments.ranks)
    if arguments.json:
        found = (
            {} if memory is None else {"gpu_bytes": memory.fixed, "gpu_bytes_per_window": memory.per_window}
        )
        print(json.dumps({"ok": not problems, "problems": problems, **found}, indent=2))
        return 2 if problems else 0
    raise_problems(problems)
    task = load_task(config.task)
    for note in task.notes(config, task.open(config)):
        print(note)
    if memory is not None:
        print(memory.describe(micro_batch_size(config, arguments.ranks), gpu_memory()))
    print(f"nothing stands in the way of {arguments.ranks} ranks on this machine")
    return 0
