"""Shared parts of the commands: parser, ``--config`` and overrides, one line for a user's mistake."""

import argparse
import contextlib
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from langpose_dist.config import UserError, suggest
from langpose_dist.host.arguments import local_path
from langpose_dist.host.console import BestEffortStream, flush_streams
from langpose_dist.host.paths import name_obstacle
from langpose_dist.host.redaction import holds_secret, presentable, redact


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, with the nearest word where one is close."""

    def __init__(self, **options: Any) -> None:
        # An option that is added later must not change what an abbreviation means.
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        invalid = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if invalid:
            choices = re.findall(r"[\w-]+", invalid[2])
            message = f"{invalid[1]!r} is none of {', '.join(choices)}{suggest(invalid[1], choices)}"
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config FILE`` and overrides, the same on every command that takes a configuration."""
    parser.add_argument(
        "--config",
        type=local_path,
        metavar="FILE",
        action="append",
        help="YAML file with what differs from the defaults; given again, the later file overrides",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="override, such as loss.temperature=0.05"
    )


def add_resume_options(
    parser: argparse.ArgumentParser,
    *,
    help_text: str = "resume from the newest whole checkpoint in the run's folder, on any number of ranks",
) -> None:
    """``--resume``, with its help, and ``--resume-if-started``, as ``resume``: no, yes or if started."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--resume",
        dest="resume",
        action="store_const",
        const="yes",
        default="no",
        help=help_text,
    )
    either.add_argument(
        "--resume-if-started",
        dest="resume",
        action="store_const",
        const="if started",
        help="resume what the output folder holds, else start; for jobs that are restarted automatically",
    )


def say_errors(name: str, action: Callable[[], int], *, is_process: bool) -> int:
    """Do what a command does, and make one line of whatever is no mistake of the program.

    Args:
        name: Of the command, in front of the line.
        action: Returns the exit status.
        is_process: Whether this process ends with it.
    """
    errors, sys.stderr = sys.stderr, BestEffortStream(sys.stderr)
    try:
        status = _status_of(name, action, is_process=is_process)
    finally:
        sys.stderr = errors
        problem = flush_streams()
    if status == 0 and problem is not None:
        status = _reader_gone(problem) or _say_system_error(name, problem)
    return status


def _status_of(name: str, action: Callable[[], int], *, is_process: bool) -> int:
    try:
        return action()
    except UserError as error:
        # Some have several lines, and some repeat what others wrote.
        print(f"{name}: error: {presentable(str(error))}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, OverflowError, RecursionError) as error:
        # Of a full disk, a folder without access, a number that no machine can hold.
        return _reader_gone(error) or _say_system_error(name, error)
    except KeyboardInterrupt:
        if is_process:
            # The process is about to end: an impatient second Ctrl-C changes nothing but the exit status.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def _reader_gone(error: Exception) -> int:
    return 141 if isinstance(error, BrokenPipeError) else 0


def _say_system_error(name: str, error: Exception) -> int:
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, FileExistsError) and error.filename:
        text = name_obstacle(Path(error.filename))
    with contextlib.suppress(OSError):
        print(f"{name}: error: {redact(place + (text or type(error).__name__))}", file=sys.stderr)
    return 2


def parse_words(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, with overrides on both sides of options, and without credentials.

    Raises:
        SystemExit: From argparse.
    """
    for word in sys.argv[1:] if argv is None else argv:
        if holds_secret(word):
            # Every user of a machine can read them there.
            parser.error(
                f"{redact(word).partition('=')[0]} holds credentials, and command lines are public; give "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment, or write "
                "~/.mlflow/credentials or a --config file"
            )
    arguments, left = parser.parse_known_args(argv)
    # argparse takes a list of words from one place only; overrides may stand on both sides of options.
    overrides = getattr(arguments, "overrides", None)
    if left and (overrides is None or not all(re.match(r"[\w.]+=", word) for word in left)):
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    if left:
        arguments.overrides = [*(overrides or []), *left]
    return arguments
