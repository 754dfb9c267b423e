"""The ``langpose`` command: one parser, and one place where a user's mistake becomes one line.

Each command's module adds its parser and names its handler; whatever is heavy it imports in the handler, so
that help and configuration errors answer at once. Here nothing is imported before a Ctrl-C is quiet.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langpose_dist import __version__
from langpose_dist.host.console import starting

if TYPE_CHECKING:
    from langpose_dist.cli.arguments import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after ``langpose``; default: those of this process.

    Returns:
        Exit status: 0 done, 2 a mistake of the user, 130 interrupted, 141 reader of the output gone; a
        command may return others of its own.

    Raises:
        SystemExit: From argparse, with 2 for bad arguments and 0 after ``--help`` and ``--version``.
    """
    with starting(is_process=argv is None):
        from langpose_dist.cli.arguments import parse_words, say_errors

        parser = build_parser()

    def run() -> int:
        arguments = parse_words(parser, argv)
        return arguments.handler(arguments)

    return say_errors("langpose", run, is_process=argv is None)


def build_parser() -> "Parser":
    """Build the parser of all commands."""
    from langpose_dist.cli import (
        analyse,
        caption_evaluator,
        data,
        doctor,
        evaluate,
        export,
        infer,
        label,
        model,
        preflight,
        registry,
        report,
        train,
    )
    from langpose_dist.cli.arguments import Parser

    parser = Parser(prog="langpose", description="Train, evaluate and look up LangPose models.")
    parser.add_argument("--version", action="version", version=f"langpose {__version__}")
    subparsers = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    # In the order of their use, as help lists them.
    for command in (
        doctor,
        data,
        model,
        preflight,
        train,
        caption_evaluator,
        evaluate,
        infer,
        label,
        analyse,
        registry,
        export,
        report,
    ):
        command.add_parser(subparsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
