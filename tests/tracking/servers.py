"""Real tracking servers for tests, started as their users start them, and killed as machines kill them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import requests

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "tracking_server.py"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 40
ROLES = {
    "READ": {},
    "EDIT": {"workspace": "USE", "experiment": "EDIT", "registered_model": "EDIT"},
    "MANAGE": {"workspace": "USE", "experiment": "MANAGE", "registered_model": "MANAGE"},
}
"""The roles of docs/tracking.md: name -> permission on all resources of a type."""


class TrackingServer:
    """A tracking server with users on a free port of this machine.

    As a context manager it runs inside the block and leaves nothing behind.

    Args:
        folder: Holds the server's folder and its log.
        store: sqlite, or postgresql for a PostgreSQL of its own.
        artifacts: A folder or s3://BUCKET/PATH; by default inside the server's folder.
        variables: For the server's environment, such as those of S3.
        options: More words for the command line.
    """

    def __init__(
        self,
        folder: Path,
        store: str = "sqlite",
        artifacts: str | None = None,
        variables: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder / "server"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        """All that the server printed, over all starts."""
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.postgres = Postgres() if store == "postgresql" else None
        self._variables = (self.postgres.variables if self.postgres else {}) | (variables or {})
        self._command = [sys.executable, str(SCRIPT), "--folder", str(self.folder)]
        self._command += ["--port", str(self.port), "--workers", "1", *options]
        self._command += ["--artifacts", artifacts] if artifacts else []

    @property
    def admin_password(self) -> str:
        """The administrator's; their name is admin."""
        return (self.folder / "secrets" / "admin-password").read_text(encoding="utf-8").strip()

    def login(self, name: str = "admin", password: str | None = None) -> dict[str, str]:
        """The environment of a client; of the administrator unless another is named."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": self.admin_password if password is None else password,
        }

    def add_user(self, name: str, password: str, permission: str = "READ") -> None:
        """Make a user with the role READ, EDIT or MANAGE; the password has 12 characters or more."""
        self.manage("POST", "2.0/mlflow/users/create", username=name, password=password)
        if not ROLES[permission]:
            return
        listed = self.manage("GET", "3.0/mlflow/roles/list?workspace=default")["roles"]
        roles = {role["name"]: role["id"] for role in listed}
        if permission not in roles:
            role = self.manage("POST", "3.0/mlflow/roles/create", workspace="default", name=permission)[
                "role"
            ]
            roles[permission] = role["id"]
            for kind, grant in ROLES[permission].items():
                grants = {"resource_type": kind, "resource_pattern": "*", "permission": grant}
                self.manage("POST", "3.0/mlflow/roles/permissions/add", role_id=role["id"], **grants)
        self.manage("POST", "3.0/mlflow/roles/assign", username=name, role_id=roles[permission])

    def manage(self, method: str, path: str, **body: Any) -> Any:
        """Send a request as the administrator, which must succeed; returns its content."""
        answer = requests.request(
            method,
            f"{self.uri}/api/{path}",
            json=body or None,
            auth=("admin", self.admin_password),
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self) -> None:
        """Start it, the first time or again, and wait until it answers."""
        assert self.process is None, "it runs already"
        if self.postgres is not None:
            self.postgres.start()
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._variables,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no tracking server: {self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """End it as its users do, and see that nothing of it is left."""
        assert self.process is not None, "it does not run"
        family = processes_of(self.process)
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
            _, left = psutil.wait_procs(family, timeout=10)
        finally:
            self._end(family)
        assert left == []
        if self.postgres is not None:
            self.postgres.stop(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when the machine is lost."""
        if self.process is not None:
            self._end(processes_of(self.process))
        if self.postgres is not None:
            self.postgres.stop(signal.SIGQUIT)  # PostgreSQL's immediate shutdown, as after a crash

    def restart(self) -> None:
        """Stop it, unless it was killed or stopped before, and start it on the same port and data."""
        if self.process is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """Kill what runs and remove what is outside the test's folder."""
        self.kill()
        if self.postgres is not None:
            shutil.rmtree(self.postgres.folder, ignore_errors=True)

    def __enter__(self) -> "TrackingServer":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.process is not None:
                self.stop()
        finally:
            self.close()

    def _end(self, family: list[psutil.Process]) -> None:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)  # psutil sees that the number is still the same process
        psutil.wait_procs(family, timeout=10)
        if self.process is not None:
            self.process.wait()
        self.process = None


class Postgres:
    """A PostgreSQL on a socket in a folder of its own, whose role ``mlflow`` logs in with a password."""

    PASSWORD = "the-password-of-the-database"

    def __init__(self) -> None:
        # In a short path, since a socket needs one, that user postgres can reach.
        self.folder = Path(tempfile.mkdtemp(prefix="langpose-"))
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user, self._user)
        password_file = self.folder / "pgpass"
        password_file.write_text(f"*:*:mlflow:mlflow:{self.PASSWORD}\n", encoding="utf-8")
        password_file.chmod(0o600)
        self.uri = f"postgresql://mlflow@/mlflow?host={self.folder}"
        self.variables = {"MLFLOW_BACKEND_STORE_URI": self.uri, "PGPASSFILE": str(password_file)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs, and wait until it accepts connections."""
        if self._process is not None:
            return
        data = self.folder / "data"
        if not data.exists():
            self._make(data)
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}"]
        self._process = subprocess.Popen(
            [program("postgres"), "-D", str(data), *settings],
            cwd="/",
            user=self._user,
            group=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while subprocess.run([program("pg_isready"), "-q", "-h", self.folder], check=False).returncode != 0:
            assert self._process.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self, how: signal.Signals) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _make(self, data: Path) -> None:
        statements = (
            f"CREATE ROLE mlflow LOGIN PASSWORD '{self.PASSWORD}';\nCREATE DATABASE mlflow OWNER mlflow;\n"
        )
        initialise = [program("initdb"), "-D", data, "--auth=scram-sha-256", "--auth-local=scram-sha-256"]
        password_file = self.folder / "superuser"
        password_file.write_text(f"{self.PASSWORD}\n", encoding="utf-8")
        password_file.chmod(0o644)
        for command, text in (
            (
                [
                    *initialise,
                    f"--pwfile={password_file}",
                    "--username=superuser",
                    "--encoding=UTF8",
                    "--locale=C",
                ],
                "",
            ),
            ([program("postgres"), "--single", "-D", data, "postgres"], statements),
        ):
            subprocess.run(
                command,
                input=text.encode(),
                cwd="/",
                user=self._user,
                group=self._user,
                capture_output=True,
                check=True,
            )


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs; Debian keeps the server's off the search path."""
    found = shutil.which(name) or next(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), None)
    return found or name


def missing_postgresql() -> str | None:
    """Why no server with PostgreSQL can start here; ``None`` if it can."""
    missing = [name for name in ("initdb", "postgres", "pg_isready") if not Path(program(name)).is_file()]
    return f"PostgreSQL is not installed: no {', '.join(missing)}" if missing else None


def processes_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all below it, the highest first."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
