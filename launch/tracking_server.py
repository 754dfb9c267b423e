"""Runs an MLflow tracking server that asks for a name and a password, until Ctrl-C or SIGTERM.

python launch/tracking_server.py --folder servers/tracking
python launch/tracking_server.py users add alice --permission EDIT --folder servers/tracking
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent))  # under PYTHONSAFEPATH it is not there

from errors import StartError
from tracking_plan import SECONDS_TO_STOP, Plan, artifacts_place, check_port, make_plan
from tracking_postgres import running_postgres
from tracking_processes import running
from tracking_users import PERMISSIONS, Server, manage_users

DEFAULT_PORT = 5000
_SECONDS_TO_START = 120


def main(argv: Sequence[str] | None = None) -> int:
    """Run a server until it is told to stop, or manage the users of one that runs."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["users"]:
            manage_users(build_users_parser().parse_args(words[1:]))
            return 0
        arguments = build_parser().parse_args(words)
        plan = make_plan(arguments)
        if arguments.dry_run:
            print("\n".join(plan.describe()))
            return 0
        return serve(plan, upgrade=arguments.upgrade)
    except StartError as error:
        print(f"tracking_server: error: {error}", file=sys.stderr)
        return 2


def serve(plan: Plan, *, upgrade: bool) -> int:
    """Run the server in the foreground.

    Args:
        plan: What to start.
        upgrade: Bring the database up to date before.

    Returns:
        The exit status: 0 if it was told to stop.

    Raises:
        StartError: If something stands in the way.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    plan.folder.make()
    os.umask(0o077)
    with contextlib.ExitStack() as stack:
        held = stack.enter_context(plan.folder.held())
        check_port(plan.host, plan.port)
        plan.folder.begin()
        stack.callback(_tell_if_cut_short, plan, stop)  # when all has ended
        children: dict[str, subprocess.Popen[bytes]] = {}
        if plan.store == "postgresql":
            password = plan.folder.secret("database-password")
            postgres = running_postgres(plan.folder.postgres, password, stop=stop, keep_open=held)
            children["PostgreSQL"] = stack.enter_context(postgres)
        if stop.is_set():
            return 0
        environment = plan.environment(os.environ)
        if upgrade and subprocess.run(plan.upgrade_command(), env=environment, check=False).returncode != 0:
            raise StartError("the database was not brought up to date; the last lines say why")
        mlflow = running(
            plan.command(),
            env=environment,
            stop_signal=signal.SIGTERM,
            patience=SECONDS_TO_STOP + 5,
            keep_open=held,
        )
        children["MLflow"] = stack.enter_context(mlflow)
        wait_until_it_answers(plan.address, children["MLflow"], stop)
        if children["MLflow"].poll() is None and not stop.is_set():
            plan.folder.remember(store=plan.store, artifacts=plan.artifacts, address=plan.address)
            administrator = Server(plan.address, plan.folder.read_admin_password())
            print("\n".join(plan.greeting(knows_password=administrator.has_this_password())), flush=True)
        while not stop.wait(0.2):
            for name, child in children.items():
                if child.poll() is not None:
                    print(f"tracking_server: {name} ended; its last lines say why", file=sys.stderr)
                    return 1
    return 0


def _tell_if_cut_short(plan: Plan, stop: threading.Event) -> None:
    if stop.is_set() and plan.folder.is_begun:
        print(f"tracking_server: {plan.cut_short()}", file=sys.stderr)


def wait_until_it_answers(address: str, server: subprocess.Popen[bytes], stop: threading.Event) -> None:
    """Wait for the server's first answer, or its end, or a signal.

    Raises:
        StartError: If none of them comes.
    """
    # Not through a proxy that the environment names: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(5 * _SECONDS_TO_START):
        with contextlib.suppress(OSError), opener.open(f"{address}/health", timeout=5):
            return
        if server.poll() is not None or stop.wait(0.2):
            return
    raise StartError(
        f"MLflow does not answer at {address} after {_SECONDS_TO_START} s; its last lines say why"
    )


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The options of a server."""
    parser = Parser(
        prog="tracking_server.py",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run an MLflow tracking server with users and passwords, until Ctrl-C or SIGTERM.\n"
        "Started again on the same folder it goes on with the same data.",
        epilog="examples:\n"
        "  python launch/tracking_server.py --folder servers/tracking\n"
        "  python launch/tracking_server.py --folder servers/tracking --store postgresql \\\n"
        "      --artifacts s3://bucket/langpose\n"
        "  python launch/tracking_server.py users --help\n\n"
        "docs/tracking.md tells about users, S3, backups and TLS.",
    )
    parser.add_argument(
        "--folder", type=absolute, required=True, metavar="FOLDER", help="data and secrets; made if need be"
    )
    store = parser.add_mutually_exclusive_group()
    store.add_argument(
        "--store",
        choices=("sqlite", "postgresql"),
        help="a file, or a PostgreSQL of its own (default: as the folder has it, else sqlite)",
    )
    store.add_argument(
        "--database-uri-file",
        type=absolute,
        metavar="FILE",
        help="a database that runs elsewhere: a file that only you can read, with its URI",
    )
    parser.add_argument(
        "--artifacts",
        type=artifacts_place,
        metavar="FOLDER|s3://BUCKET/PATH",
        help="where files of runs go (default: as the folder has it, else FOLDER/artifacts)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        metavar="P",
        help="port to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--names",
        metavar="NAME,NAME,...",
        help="how clients write the server's name or address, beside localhost; others are turned away",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=2,
        metavar="N",
        help="processes that answer (default: %(default)s)",
    )
    parser.add_argument(
        "--upgrade",
        action="store_true",
        help="first change the database for a newer MLflow; make a backup before",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
    return parser


def build_users_parser() -> argparse.ArgumentParser:
    """The options of ``users``."""
    parser = Parser(
        prog="tracking_server.py users",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Manage the users of a running server, on its machine.\n"
        "A password is asked for, or read from standard input; it has 12 characters or more.",
        epilog="READ reads everything; EDIT also writes runs and models; MANAGE also deletes them.\n\n"
        "example:\n"
        "  python launch/tracking_server.py users add alice --permission EDIT --folder servers/tracking",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|permit|password|remove|list")
    add = actions.add_parser("add", help="make a user")
    permit = actions.add_parser("permit", help="change what a user may do")
    password = actions.add_parser("password", help="give a user a new password")
    remove = actions.add_parser("remove", help="remove a user; runs and models stay")
    everyone = actions.add_parser("list", help="show all users")
    for action in (add, permit, password, remove):
        action.add_argument("name", metavar="NAME")
    add.add_argument("--permission", choices=PERMISSIONS, default="READ", help="default: %(default)s")
    permit.add_argument("--permission", choices=PERMISSIONS, required=True)
    for action in (add, permit, password, remove, everyone):
        action.add_argument("--folder", type=absolute, required=True, help="of the server")
    return parser


def absolute(text: str) -> Path:
    """A path from the command line."""
    return Path(text).absolute()


def port(text: str) -> int:
    """A port of TCP, from the command line."""
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; give a number from 1 to 65535")
    return int(text)


def positive(text: str) -> int:
    """A count, from the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no count; give 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
