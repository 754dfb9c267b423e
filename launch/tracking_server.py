"""Start an MLflow tracking server with users and passwords: check the options, then become ``mlflow server``.

python launch/tracking_server.py --folder servers/tracking
"""

import argparse
import importlib.util
import os
import re
import secrets
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

_PACKAGES = ("langpose_dist", "mlflow", "flask_wtf", "psycopg", "boto3")
_PASSWORD = re.compile(r"://[^/?\s]*:\S*@|[?&]password=")
_CLIENT_VARIABLES = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_WORKSPACE", "MLFLOW_AUTH_CONFIG_PATH")
"""Prefixes of variables that are for clients, or that this script sets."""
_SHUTDOWN_TIMEOUT_S = 10
_AUTH_CONFIG = """\
[mlflow]
database_uri = {uri}
admin_username = admin
# A user without grants reads everything and writes nothing: in a workspace, unlike on a server without
# workspaces, creating an experiment or a model takes a grant.
default_permission = READ
grant_default_workspace_access = true
# Checking a password takes a tenth of a second, twice or more per request. A worker remembers a correct one
# for this long, so a changed password or a removed user may be accepted that much longer.
auth_cache_ttl_seconds = 60
authorization_function = langpose_dist.tracking.server_auth:authenticate
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the command of the server, or become it."""
    given = list(sys.argv[1:] if argv is None else argv)
    check_packages()
    arguments, words = build_parser().parse_known_args(given)
    check_arguments(given, arguments.artifacts)
    command = server_command(arguments, words)
    if arguments.dry_run:
        print(shlex.join(command))
        return
    check_port(arguments.host, arguments.port)
    os.umask(0o077)
    try:
        make_private(arguments.folder)
        environment = server_environment(arguments.folder, arguments.database, os.environ)
    except OSError as error:
        fail(f"--folder {arguments.folder} cannot be used: {error.strerror}")
    announce(arguments.folder, arguments.host, arguments.port)
    os.execve(command[0], command, environment)


def check_packages() -> None:
    """Refuse an environment without the server's packages."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        fail(f"{sys.executable} lacks {', '.join(missing)}; pip install 'langpose-dist[server]'")


def check_arguments(given: Sequence[str], artifacts: str | None) -> None:
    """Refuse what cannot work or would make a secret public."""
    if any(_PASSWORD.search(word) for word in given):
        fail("command lines are public, and this one holds a password; put it into ~/.pgpass")
    if not re.fullmatch("s3://[^/].*|[^:]*", artifacts or ""):
        fail(f"--artifacts {artifacts} is neither a folder nor s3://BUCKET/PATH")


def check_port(host: str, port: int) -> None:
    """Refuse a port that is taken: mlflow server says so only after a while, and exits with 0."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        fail(f"--host {host} --port {port} cannot be used: {getattr(error, 'strerror', None) or error}")


def server_command(arguments: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """Build MLflow's command line, which holds no secret since every user of the machine can read it."""
    artifacts = arguments.artifacts or str(arguments.folder / "artifacts")
    if not artifacts.startswith("s3://"):
        artifacts = os.path.abspath(artifacts)
    return [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--enable-workspaces"),
        *("--serve-artifacts", "--artifacts-destination", artifacts),
        *("--host", arguments.host, "--port", str(arguments.port)),
        *("--uvicorn-opts", f"--timeout-graceful-shutdown {_SHUTDOWN_TIMEOUT_S}"),
        *words,
    ]


def server_environment(folder: Path, database: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of MLflow's process and write the files that it names.

    Args:
        folder: Of the server.
        database: URI of the database for runs, models and users; ``None`` for SQLite files in the folder.
        environ: Of this process.
    """
    if database is None:
        uri, users_uri = f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/users.db"
    else:
        uri = users_uri = re.sub("^postgresql://", "postgresql+psycopg://", database)
    auth_config = folder / "secrets" / "auth.ini"
    auth_config.write_text(_AUTH_CONFIG.format(uri=users_uri.replace("%", "%%")), encoding="utf-8")
    kept = {name: value for name, value in environ.items() if not name.startswith(_CLIENT_VARIABLES)}
    return kept | {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_AUTH_CONFIG_PATH": str(auth_config),
        # Used by the first start only, which creates the administrator.
        "MLFLOW_AUTH_ADMIN_PASSWORD": environ.get("MLFLOW_AUTH_ADMIN_PASSWORD")
        or secret(folder, "admin-password"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret(folder, "server-key"),
        # Jobs and the gateway are for language models, and send requests to any address that a user names.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
    }


def make_private(folder: Path) -> None:
    """Make the server's folder, or make sure that it is closed to other users."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        fail(
            f"--folder {folder} is open to other users of this machine; chmod 700 {folder}, or name a new one"
        )
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True)


def secret(folder: Path, name: str) -> str:
    """Read a secret of the folder, generated when it is first needed."""
    file = folder / "secrets" / name
    if not file.exists():
        partial = file.with_name(f"{name}.partial")
        partial.write_text(f"{secrets.token_urlsafe(32)}\n", encoding="utf-8")
        partial.replace(file)
    return file.read_text(encoding="utf-8").strip()


def announce(folder: Path, host: str, port: int) -> None:
    """Say how to reach the server; the password is only named by its file."""
    print(f"tracking server: http://{host}:{port}, data in {folder}")
    print(f"  export MLFLOW_TRACKING_URI=http://{host}:{port} MLFLOW_TRACKING_USERNAME=admin")
    password_file = folder / "secrets" / "admin-password"
    if password_file.exists():
        print(f'  export MLFLOW_TRACKING_PASSWORD="$(cat {shlex.quote(str(password_file))})"')
    if host not in ("127.0.0.1", "localhost", "::1"):
        print(
            "warning: http shows passwords to the network; put a proxy with TLS in front (docs/tracking.md)"
        )
    sys.stdout.flush()


def fail(message: str) -> NoReturn:
    """End with a line that says what is wrong."""
    print(f"tracking_server: error: {message}", file=sys.stderr)
    sys.exit(2)


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        fail(message)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the options."""
    from langpose_dist.host.arguments import local_path, place, port

    parser = _Parser(
        prog="tracking_server.py",
        allow_abbrev=False,
        usage="tracking_server.py --folder FOLDER [OPTIONS] [OPTIONS OF mlflow server]",
        description="Run an MLflow tracking server with users and passwords until Ctrl-C or SIGTERM. Started "
        "again with the same options, it continues with the same data. docs/tracking.md tells about users, "
        "PostgreSQL, S3, TLS and backups.",
        epilog="Other options go to mlflow server, such as --workers N and --allowed-hosts NAME,...",
    )
    parser.add_argument(
        "--folder",
        type=lambda text: local_path(text).absolute(),
        required=True,
        help="data and secrets; made if it does not exist",
    )
    parser.add_argument(
        "--database",
        type=place,
        metavar="URI",
        default=os.environ.get("MLFLOW_BACKEND_STORE_URI"),
        help="postgresql://USER@HOST/DATABASE (default: $MLFLOW_BACKEND_STORE_URI, else SQLite in FOLDER)",
    )
    parser.add_argument(
        "--artifacts",
        type=place,
        metavar="FOLDER|s3://BUCKET/PATH",
        help="files of runs (default: FOLDER/artifacts)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=5000, help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the command and do nothing")
    return parser


if __name__ == "__main__":
    main()
