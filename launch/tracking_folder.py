"""The folder of a tracking server: its data, its secrets, what it was started with, and who uses it now."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from errors import StartError

ADMIN = "admin"
"""Name of the administrator."""
_PLACES = {"file": "the database that --database-uri-file names"}
"""A remembered setting -> how to say it, where its value alone does not."""


@dataclass(frozen=True)
class ServerFolder:
    """Where everything is."""

    path: Path

    @property
    def database(self) -> Path:
        """Runs and models, with the store ``sqlite``."""
        return self.path / "mlflow.db"

    @property
    def users_database(self) -> Path:
        """Users and roles, with the store ``sqlite``."""
        return self.path / "users.db"

    @property
    def postgres(self) -> Path:
        """All of it, with the store ``postgresql``."""
        return self.path / "postgresql"

    @property
    def postgres_data(self) -> Path:
        """What PostgreSQL keeps in there."""
        return self.postgres / "data"

    @property
    def artifacts(self) -> Path:
        """Artifacts, unless they are elsewhere."""
        return self.path / "artifacts"

    @property
    def admin_password_file(self) -> Path:
        """The administrator's password."""
        return self.path / "secrets" / "admin-password"

    @property
    def auth_config_file(self) -> Path:
        """MLflow's settings for its users; holds the database's password."""
        return self.path / "secrets" / "auth.ini"

    @property
    def is_begun(self) -> bool:
        """Whether a first start is under way, or was cut short: what it made is not to be used."""
        return self._mark.exists() and not self._settings_file.exists()

    def make(self) -> None:
        """Make the folder for this user alone, or see that it is that already.

        Raises:
            StartError: If it cannot be used.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / "secrets").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StartError(f"--folder {self.path} cannot be used: {error.strerror}") from error
        if self.path.stat().st_mode & 0o067:
            raise StartError(
                f"--folder {self.path} is open to other users of this machine; "
                f"close it (chmod 700 {self.path}) or name a new one"
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[int]:
        """Keep the folder for one server; gives a descriptor that holds it as long as anyone has it open.

        Raises:
            StartError: If another has it.
        """
        # Not filelock: this lock has to outlive this process if its children do.
        with (self.path / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StartError(
                    f"a server runs in {self.path}, or is about to end; "
                    "stop that one first, or name another folder"
                ) from None
            yield file.fileno()

    def begin(self) -> None:
        """Mark a first start, and remove what an earlier one that was cut short left half-made.

        Only what was made under the mark is removed: a database that is here without it is somebody's.
        """
        databases = (self.database, self.users_database)
        made = [
            file.with_name(file.name + end) for file in databases for end in ("-journal", "-wal", "-shm", "")
        ]
        if self.is_begun:
            for file in made:
                file.unlink(missing_ok=True)
            if self.postgres_data.exists():
                shutil.rmtree(self.postgres_data)
        elif not any(path.exists() for path in (self._settings_file, *made, self.postgres_data)):
            self._mark.touch()

    def secret(self, name: str) -> str:
        """A secret of this folder, drawn when it is first asked for."""
        file = self.path / "secrets" / name
        if not file.exists():
            write_private(file, secrets.token_urlsafe(32))
        return file.read_text(encoding="utf-8").strip()

    def read_admin_password(self) -> str:
        """The administrator's password.

        Raises:
            StartError: If no server was started here.
        """
        return self._read(self.admin_password_file)

    def read_address(self) -> str:
        """Where the server answers on this machine.

        Raises:
            StartError: If no server was started here.
        """
        address = self._settings().get("address")
        if address is None:
            raise StartError(f"no server was started in {self.path}; start one with --folder {self.path}")
        return address

    def settle(self, name: str, value: str | None, default: str, *, written: str) -> str:
        """A setting that stays as it was at the first start, so that a later one cannot lose sight of data.

        Args:
            name: Of its option.
            value: As asked for now; ``None`` takes what is remembered.
            default: For the first start.
            written: The option as the user wrote it.

        Raises:
            StartError: If something else is asked for than is remembered.
        """
        kept = self._settings().get(name)
        if kept is not None and value not in (None, kept):
            raise StartError(
                f"{written}: the data of {self.path} are in {_PLACES.get(kept, kept)}; "
                "leave the option out, or name another folder"
            )
        return kept or value or default

    def remember(self, **settings: str) -> None:
        """Keep the settings of this start, with which a first start is over."""
        write_private(self._settings_file, json.dumps(self._settings() | settings, indent=1))
        self._mark.unlink(missing_ok=True)

    @property
    def _settings_file(self) -> Path:
        return self.path / "settings.json"

    @property
    def _mark(self) -> Path:
        return self.path / "first-start"

    def _settings(self) -> dict[str, str]:
        file = self._settings_file
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def _read(self, file: Path) -> str:
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise StartError(f"there is no {file}; start a server with --folder {self.path} first") from None
        except OSError as error:
            raise StartError(
                f"{file} cannot be read: {error.strerror}; only who started the server may"
            ) from None


def write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(f"{text}\n")
    draft.replace(file)
