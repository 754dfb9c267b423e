"""Real tracking servers for tests, started as their users start them, and killed as machines kill them."""

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "launch" / "tracking_server.py"
_SECONDS_TO_START = 120
_SECONDS_TO_STOP = 40


class TrackingServer:
    """A tracking server with users on a free port of this machine.

    As a context manager it runs inside the block and leaves nothing behind.

    Args:
        folder: Of the server. A PostgreSQL's is a new one in the system's temporary folder instead: user
            postgres cannot reach pytest's, and a socket needs a short path.
        store: sqlite, postgresql, or ``None`` if the options say.
        artifacts: A folder or s3://BUCKET/PATH; by default inside the server's folder.
        variables: For the server's environment, such as those of S3.
        options: More words for the command line.
    """

    def __init__(
        self,
        folder: Path,
        store: str | None = "sqlite",
        artifacts: str | None = None,
        variables: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="langpose-")) if store == "postgresql" else None
        self.folder = self._temporary or folder / "server"
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        """All that the server printed, over all starts."""
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._variables = variables or {}
        self._command = [sys.executable, str(SCRIPT), "--folder", str(self.folder)]
        self._command += ["--store", store] if store else []
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
        """Make a user who may do what READ, EDIT or MANAGE names; the password has 12 characters or more."""
        done = self.manage("add", name, "--permission", permission, text=f"{password}\n")
        assert done.returncode == 0, done.stderr

    def manage(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``tracking_server.py users`` with these words and this standard input."""
        command = [sys.executable, str(SCRIPT), "users", *words, "--folder", str(self.folder)]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)

    def start(self) -> None:
        """Start it, the first time or again, and wait until it answers."""
        assert self.process is None, "it runs already"
        with self.log.open("ab") as output:
            before = output.tell()
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._variables,
                start_new_session=True,
            )
        deadline = time.monotonic() + _SECONDS_TO_START
        while b"tracking server: " not in self.log.read_bytes()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no tracking server: {self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it as its users do, and see that it ends well."""
        assert self.process is not None, "it does not run"
        family = processes_of(self.process)
        self.process.terminate()
        try:
            status = self.process.wait(_SECONDS_TO_STOP)
        finally:
            self._end(family)
        assert status == 0, f"the server ended with {status}"

    def kill(self) -> None:
        """SIGKILL to all its processes at once, as when the machine is lost."""
        if self.process is not None:
            self._end(processes_of(self.process))

    def restart(self) -> None:
        """Stop it, unless it was killed or stopped before, and start it on the same port and data."""
        if self.process is not None:
            self.stop()
        self.start()

    def close(self) -> None:
        """Kill what runs and remove what is outside the test's folder."""
        self.kill()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

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


def processes_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process and all below it, the highest first."""
    try:
        parent = psutil.Process(process.pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@functools.cache
def missing_postgresql() -> str | None:
    """Why no server with PostgreSQL can start here; ``None`` if it can."""
    command = [sys.executable, str(SCRIPT), "--folder", "/tmp/none", "--store", "postgresql", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return None if done.returncode == 0 else done.stderr.strip()


_ports = itertools.count(20000 + 7 * os.getpid() % 12000)
"""Below the ports that the system gives to outgoing connections, which would take a stopped server's."""


def free_port() -> int:
    """A port that nobody listens on, and that stays free while its server is down."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as server:
            server.bind(("127.0.0.1", port))
            return port
    raise AssertionError
