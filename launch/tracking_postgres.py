"""A PostgreSQL of the tracking server's own, from the distribution's packages.

It listens on a socket in its folder and on no port. MLflow's role owns its database, logs in with a password
and is no superuser; the superuser is whoever owns the folder.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from errors import StartError
from tracking_processes import running

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/lib64/pgsql*/bin")
"""Where Debian, Red Hat's and SUSE's packages put the programs of each version."""
_INSTALL = "install it (Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server)"
_NAME = "mlflow"
"""Of the role and of the database."""
_SOCKET = ".s.PGSQL.5432"
_LONGEST_SOCKET_PATH = 107
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 30


def check_postgres(folder: Path) -> str:
    """What can be known before anything is written.

    Args:
        folder: Of the database, which need not exist yet.

    Returns:
        The command that will run.

    Raises:
        StartError: If there is no PostgreSQL, none of the folder's version, or the folder cannot be used.
    """
    if len(str(folder / _SOCKET)) > _LONGEST_SOCKET_PATH:
        raise StartError(
            f"{folder / _SOCKET} has {len(str(folder / _SOCKET))} characters, and a socket's path at most "
            f"{_LONGEST_SOCKET_PATH}; choose a shorter --folder"
        )
    if _owner() not in (None, *(entry.pw_name for entry in pwd.getpwall())):
        raise StartError(
            "PostgreSQL does not run as root, and there is no user postgres to run it as; "
            "start this as another user"
        )
    return " ".join(_command(_find_programs(folder), folder))


def postgres_uri(folder: Path, password: str) -> str:
    """Where MLflow finds its database."""
    return f"postgresql+psycopg://{_NAME}:{quote(password)}@/{_NAME}?host={quote(str(folder))}"


@contextlib.contextmanager
def running_postgres(
    folder: Path, password: str, *, stop: threading.Event, keep_open: int
) -> Iterator[subprocess.Popen[bytes]]:
    """A PostgreSQL that accepts connections, until the block ends or ``stop`` is set while it starts.

    Args:
        folder: Where it keeps everything; made where there is none.
        password: Of MLflow's role.
        stop: Ends the wait for it.
        keep_open: A file descriptor that it inherits.

    Raises:
        StartError: If it cannot be made or does not start.
    """
    programs = _find_programs(folder)
    _make_folder(folder)
    if not (folder / "data").is_dir():
        _make_cluster(programs, folder, password)
    log = folder / "log"
    with (
        log.open("ab") as output,
        running(
            _command(programs, folder),
            env=_ENVIRONMENT,
            stop_signal=signal.SIGINT,  # ends sessions, and leaves the data in order
            patience=_SECONDS_TO_STOP,
            user=_owner(),
            output=output,
            keep_open=keep_open,
        ) as postgres,
    ):
        for _ in range(10 * _SECONDS_TO_START):
            if _run([programs / "pg_isready", "-q", "-h", folder]).returncode == 0 or stop.wait(0.1):
                break
            if postgres.poll() is not None:
                raise StartError(f"PostgreSQL did not start: {_last_line(log.read_text())}; see {log}")
        else:
            raise StartError(f"PostgreSQL accepts no connection after {_SECONDS_TO_START} s; see {log}")
        yield postgres


def _find_programs(folder: Path) -> Path:
    """The folder of the programs: of the version that made the data, or of the newest."""
    places = [place for pattern in _PLACES for place in Path("/").glob(pattern.removeprefix("/"))]
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).resolve().parent)
    versions = {
        version: place
        for place in places
        if all((place / name).is_file() for name in ("initdb", "postgres", "pg_isready"))
        and (version := _version_of(place)) is not None
    }
    if not versions:
        raise StartError(f"PostgreSQL is not installed; {_INSTALL}, or take --store sqlite")
    made_by = folder / "data" / "PG_VERSION"
    version = int(made_by.read_text()) if made_by.is_file() else max(versions)
    if version not in versions:
        raise StartError(
            f"{folder} was made by PostgreSQL {version}, and here is {max(versions)}; "
            f"install version {version}, or move the data with pg_upgrade"
        )
    return versions[version]


def _version_of(programs: Path) -> int | None:
    number = re.search(r"\d+", _run([programs / "postgres", "--version"]).stdout)
    return int(number[0]) if number else None


def _command(programs: Path, folder: Path) -> list[str]:
    settings = (
        "listen_addresses=",
        f'unix_socket_directories="{folder}"',
        "unix_socket_permissions=0700",
    )
    return [str(programs / "postgres"), "-D", str(folder / "data"), *(w for s in settings for w in ("-c", s))]


def _owner() -> str | None:
    """Whom PostgreSQL runs as, where that is not this process's user: it refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = _owner()
    if owner is None:
        return
    shutil.chown(folder, owner, owner)
    # The other user may pass through the folder above, not read it.
    shutil.chown(folder.parent, group=owner)
    folder.parent.chmod(0o710)
    if _run(["test", "-w", folder], user=owner).returncode != 0:
        raise StartError(
            f"PostgreSQL runs as user {owner}, who cannot reach {folder}; choose a --folder whose parents "
            "everyone may pass through (chmod o+x), or start this as another user than root"
        )


def _make_cluster(programs: Path, folder: Path, password: str) -> None:
    # Under another name until it is whole: an interrupted start begins anew.
    draft = folder / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    superuser = _owner() or pwd.getpwuid(os.geteuid()).pw_name
    settings = ["--auth=peer", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    _check(_run([programs / "initdb", "-D", draft, *settings], user=_owner()))
    # Nobody else is let in.
    rules = f"local {_NAME} {_NAME} scram-sha-256\nlocal all {superuser} peer\n"
    (draft / "pg_hba.conf").write_text(rules, encoding="utf-8")
    statements = f"CREATE ROLE {_NAME} LOGIN PASSWORD '{password}';\nCREATE DATABASE {_NAME} OWNER {_NAME};\n"
    _check(_run([programs / "postgres", "--single", "-D", draft, "postgres"], user=_owner(), text=statements))
    draft.rename(folder / "data")


def _run(
    command: list[str | Path], *, user: str | None = None, text: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=_ENVIRONMENT,
        cwd="/",  # the other user may not see this process's folder
        start_new_session=True,  # Ctrl-C waits until a database is made
        user=user,
        group=user,
        extra_groups=None if user is None else (),
    )


def _check(done: subprocess.CompletedProcess[str]) -> None:
    # The server for one user goes on after a mistake, and tells of it only in its output.
    if done.returncode != 0 or re.search(r"\b(ERROR|FATAL|PANIC):", done.stderr):
        raise StartError(f"{Path(done.args[0]).name} failed: {_last_line(done.stderr)}")


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")
