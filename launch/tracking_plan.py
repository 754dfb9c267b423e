"""What a tracking server is started with, found out and checked before anything is written."""

import argparse
import errno
import importlib.util
import ipaddress
import re
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from errors import StartError
from tracking_folder import ADMIN, ServerFolder, write_private
from tracking_postgres import check_postgres, postgres_uri

SECONDS_TO_STOP = 10
_PACKAGES = ("langpose_dist", "mlflow", "flask_wtf", "psycopg", "boto3")
_HERE = ("localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*")
"""Host headers of this machine's own requests."""
_DROPPED = ("MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "MLFLOW_WORKSPACE", "MLFLOW_AUTH_")
"""Beginnings of variables that are for clients, or that the folder decides."""
_AUTH_CONFIG = """\
[mlflow]
database_uri = {uri}
admin_username = {admin}
# Who has no role reads everything and writes nothing: in a workspace, as opposed to a server without
# workspaces, it takes a grant to create an experiment or a model.
default_permission = READ
grant_default_workspace_access = true
# Checking a password takes a tenth of a second, twice or more per request; each process remembers that it was
# right for this many seconds, so that a changed or removed one may go on that long.
auth_cache_ttl_seconds = 60
authorization_function = langpose_dist.tracking.server_auth:authenticate
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A start of a server; no secret is in it."""

    folder: ServerFolder
    store: str
    database_uri_file: Path | None
    artifacts: str
    host: str
    port: int
    workers: int
    names: tuple[str, ...]
    """How clients call the server, beside localhost."""
    postgres_command: str | None
    """Of a PostgreSQL of its own."""

    @property
    def address(self) -> str:
        """Where this machine finds it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def command(self) -> list[str]:
        """MLflow's command line, which every user of the machine can read."""
        words = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--enable-workspaces"]
        words += ["--serve-artifacts", "--artifacts-destination", self.artifacts]
        words += ["--host", self.host, "--port", str(self.port), "--workers", str(self.workers)]
        words += ["--uvicorn-opts", f"--timeout-graceful-shutdown {SECONDS_TO_STOP}"]
        if self.names:
            hosts = [host for name in self.names for host in (name, f"{name}:*")]
            origins = [f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts]
            words += ["--allowed-hosts", ",".join((*_HERE, *hosts))]
            words += ["--cors-allowed-origins", ",".join(origins)]
        return words

    def upgrade_command(self) -> list[str]:
        """``mlflow db upgrade``, with the database's URI, which may hold a password, from the environment."""
        return [
            *(sys.executable, "-c"),
            "import os; from mlflow.cli import cli; "
            "cli(['db', 'upgrade', os.environ['MLFLOW_BACKEND_STORE_URI']])",
        ]

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables of MLflow's process, which hold its secrets; writes its file of settings."""
        uri, users_uri = self._database_uris()
        escaped = users_uri.replace("%", "%%")
        write_private(self.folder.auth_config_file, _AUTH_CONFIG.format(uri=escaped, admin=ADMIN))
        kept = {name: value for name, value in environ.items() if not name.startswith(_DROPPED)}
        return kept | {
            "MLFLOW_BACKEND_STORE_URI": uri,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.folder.auth_config_file),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.folder.secret("admin-password"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.folder.secret("server-key"),
            # What has to do with language models: jobs, and requests to whatever address a user names.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_ENABLE_AI_GATEWAY": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONWARNINGS": "ignore",
        }

    def cut_short(self) -> str:
        """What to say when a first start is told to stop before the server answers."""
        if self.store == "file":
            return (
                f"the first start was cut short; the database that {self.database_uri_file} names may lack "
                "some tables: should the next start fail, take an empty one"
            )
        return "the first start was cut short, and what it made is not kept; the next start begins anew"

    def describe(self) -> list[str]:
        """The commands, for ``--dry-run``."""
        return [*filter(None, [self.postgres_command]), shlex.join(self.command())]

    def greeting(self, *, knows_password: bool) -> list[str]:
        """What to say when the server answers.

        Args:
            knows_password: Whether the folder has the administrator's password. It has not where the
                database is older than the folder.
        """
        password_file = shlex.quote(str(self.folder.admin_password_file))
        lines = [
            f"tracking server: {self.address}, data in {self.folder.path}",
            f"  export MLFLOW_TRACKING_URI={self.address} MLFLOW_TRACKING_USERNAME={ADMIN}",
            f'  export MLFLOW_TRACKING_PASSWORD="$(cat {password_file})"',
            "users:",
            "  python launch/tracking_server.py users add NAME --permission READ|EDIT|MANAGE "
            f"--folder {shlex.quote(str(self.folder.path))}",
        ]
        if not knows_password:
            lines.append(
                f"warning: the administrator's password is another than in {password_file}; put it there"
            )
        if not is_loopback(self.host):
            lines.append(
                "warning: http shows passwords to the network; "
                "put a proxy with TLS in front (docs/tracking.md)"
            )
        return lines

    def _database_uris(self) -> tuple[str, str]:
        """Of runs and models, and of users."""
        if self.store == "sqlite":
            return f"sqlite:///{self.folder.database}", f"sqlite:///{self.folder.users_database}"
        if self.store == "postgresql":
            uri = postgres_uri(self.folder.postgres, self.folder.secret("database-password"))
        else:
            uri = read_database_uri(self.database_uri_file)
        return uri, uri


def make_plan(arguments: argparse.Namespace) -> Plan:
    """Look at all that can be known before the start.

    Raises:
        StartError: If it cannot work.
    """
    folder = ServerFolder(arguments.folder)
    file = arguments.database_uri_file
    written = f"--database-uri-file {file}" if file else f"--store {arguments.store}"
    store = folder.settle("store", "file" if file else arguments.store, "sqlite", written=written)
    uri = read_database_uri(file) if store == "file" else ""
    written = f"--artifacts {arguments.artifacts}"
    artifacts = folder.settle("artifacts", arguments.artifacts, str(folder.artifacts), written=written)
    needed = {"langpose_dist", "mlflow", "flask_wtf"}
    needed |= {"psycopg"} if store == "postgresql" or "+psycopg:" in uri else set()
    needed |= {"boto3"} if artifacts.startswith("s3://") else set()
    check_packages(needed)
    names = tuple(filter(None, (arguments.names or "").split(",")))
    if not names and not is_loopback(arguments.host):
        raise StartError(
            f"--host {arguments.host} is open to the network; say how clients write the server's name or "
            "address, such as --names tracking.example.org,10.0.0.7"
        )
    return Plan(
        folder=folder,
        store=store,
        database_uri_file=file,
        artifacts=artifacts,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        names=names,
        postgres_command=check_postgres(folder.postgres) if store == "postgresql" else None,
    )


def artifacts_place(text: str) -> str:
    """A folder or a place in S3, from the command line."""
    # With a slash missing it would be a folder, for good.
    if "://" not in text and not re.match(r"[\w+.-]+:/|s3:", text, re.IGNORECASE):
        return str(Path(text).absolute())
    if not re.match("s3://[^/]", text):
        raise argparse.ArgumentTypeError(
            f"{text} is neither a folder nor s3://BUCKET/PATH; write a folder with such a name from its root"
        )
    return text


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches such an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_packages(needed: set[str]) -> None:
    """See that what the server imports is installed.

    Raises:
        StartError: If something is missing.
    """
    missing = [name for name in _PACKAGES if name in needed and importlib.util.find_spec(name) is None]
    if missing:
        raise StartError(
            f"{sys.executable} does not have {', '.join(missing)}; pip install 'langpose-dist[server]'"
        )


def check_port(host: str, port: int) -> None:
    """See that the server can listen there.

    Raises:
        StartError: If it cannot.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {port} of {host} is taken; choose another with --port") from error
        raise StartError(f"--host {host} --port {port} cannot be used: {error.strerror}") from error


def read_database_uri(file: Path | None) -> str:
    """The URI of a database that is run elsewhere, with psycopg 3 where the driver is left open.

    Raises:
        StartError: If the file has none; what it has is not repeated.
    """
    if file is None:
        raise StartError("the data are in a database of your own; give --database-uri-file FILE again")
    try:
        if file.stat().st_mode & 0o077:
            raise StartError(
                f"{file} holds a password and is open to other users; close it: chmod 600 {file}"
            )
        uri = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StartError(f"--database-uri-file {file} cannot be read: {error.strerror}") from error
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "mysql", "mssql") or "\n" in rest:
        raise StartError(f"{file} must hold one line: postgresql://USER:PASSWORD@HOST/DATABASE")
    return f"postgresql+psycopg://{rest}" if scheme == "postgresql" else uri
