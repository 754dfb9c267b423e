"""``python -m tuning.sweep``: search loss weights, temperature and any other key of the configuration."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from langpose_dist.host.console import EXIT_INTERRUPTED, best_effort_output, starting

_EXAMPLES = """examples:
  python -m tuning.sweep --config configs/pretrain/small.yaml --config configs/sweep/loss_weights.yaml \\
      data.path=data/bandai output=runs/weights --dry-run
  python -m tuning.sweep --config configs/pretrain/small.yaml --config configs/sweep/loss_weights.yaml \\
      data.path=data/bandai output=runs/weights sweep.searcher=optuna
  python -m tuning.sweep --resume output=runs/weights
  langpose report sweep runs/weights

A sweep is the configuration of a run with one more section, sweep: what is searched, how, and by which
validation metric. Every trial is a run of its own below output/trials.

Exit status: 0 finished; 75 asked to stop (SIGTERM, SIGINT, SIGHUP, SIGUSR1, a file named stop in the sweep's
folder), resume with --resume; 1 it came to no result; 2 a mistake in what was asked for. A second Ctrl-C ends
it at once.

keys of the sweep, with their defaults (langpose train --help lists all others):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, as ``--help`` lists them."""
    with starting(is_process=argv is None):
        from langpose_dist.cli.arguments import parse_words, say_errors

        parser = build_parser()

    def run() -> int:
        arguments = parse_words(parser, argv)
        with best_effort_output():
            return _run(arguments)

    return say_errors("sweep", run, is_process=argv is None)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command."""
    from langpose_dist.cli.arguments import Parser, add_config_arguments, add_resume_options
    from tuning.settings import describe_sweep_keys

    parser = Parser(
        prog="python -m tuning.sweep",
        description="Train many configurations on Ray Tune, stop those that fall behind, say which is best.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EXAMPLES
        + "\n".join(f"  {key}={default}\n      {text}" for key, default, text in describe_sweep_keys()),
    )
    add_config_arguments(parser)
    add_resume_options(
        parser,
        help_text="resume the sweep in the output folder; without --config it is as the folder has it",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say which trials would be started, with what, and start none"
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a running Ray cluster, auto or HOST:PORT; default: Ray is started on this machine alone",
    )
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from langpose_dist.config import UserError, read_content
    from langpose_dist.host.paths import expand_home
    from langpose_dist.host.redaction import printable, redact
    from tuning.settings import SWEEP_FILE, load_sweep

    files = arguments.config or ()
    if arguments.resume == "yes" and not files:
        output = read_content((), arguments.overrides).get("output", "runs/pretrain")
        files = [Path(expand_home(str(output))) / SWEEP_FILE]
        if not files[0].is_file():
            raise UserError(f"{files[0].parent} holds no sweep to resume; name it with output=FOLDER")
    sweep = load_sweep(files, arguments.overrides)

    # Ray takes seconds to import.
    from tuning.folder import check_folder, holds_sweep
    from tuning.plan import describe_plan, prepare
    from tuning.run import SweepFailed, run_sweep
    from tuning.stopping import SweepInterrupted

    plan = prepare(sweep)
    is_resumed = arguments.resume == "yes" or (arguments.resume == "if started" and holds_sweep(plan.output))
    if arguments.dry_run:
        if is_resumed:
            check_folder(plan, resume=True)
        print("\n".join(describe_plan(plan, arguments.ray_address)))
        return 0

    def tell(text: str) -> None:
        print("\n".join(map(printable, text.split("\n"))), flush=True)

    try:
        run_sweep(plan, resume=is_resumed, address=arguments.ray_address, tell=tell)
    except SweepInterrupted as stop:
        print(f"sweep: interrupted by {stop}; resume with --resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    except SweepFailed as error:
        print(f"sweep: error: {printable(redact(str(error)))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
