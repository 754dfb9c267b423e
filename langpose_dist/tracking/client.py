"""Access to MLflow: addresses, connection, waiting times and messages."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests
import sqlalchemy
import sqlalchemy.exc
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from langpose_dist.config import TrackingConfig, UserError
from langpose_dist.host.paths import expand_home
from langpose_dist.host.redaction import printable, redact
from langpose_dist.tracking import OWN_SETTINGS

DEFAULT_URI: str = TrackingConfig().uri
_SQLITE = "sqlite:///"
_SERVERS = ("http", "https")
_LARGE_FILE_TIMEOUT_S = "120"
_UNAVAILABLE_CODES = (
    "INTERNAL_ERROR",
    "TEMPORARILY_UNAVAILABLE",
    "REQUEST_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
)
_UNUSABLE = re.compile(
    r"unable to open database file|not a database|authentication failed|no password supplied|does not exist"
    r"|permission denied|readonly database|Can't locate revision|out-of-date database schema"
)
"""Messages of MLflow and the databases about errors that time does not fix."""
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class StoreUnavailable(UserError):
    """A tracking store that does not answer now, and may later."""


def resolve_uri(uri: str | None) -> str:
    """Choose the tracking URI; SQLite paths become absolute, so that a change of folder splits no store.

    Args:
        uri: As configured. ``None`` and the default give way to ``MLFLOW_TRACKING_URI``.

    Raises:
        UserError: If nothing can be stored at such a URI.
    """
    if uri is None or uri == DEFAULT_URI:
        try:
            uri = expand_home(os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)
        except ValueError as error:
            raise UserError(f"MLFLOW_TRACKING_URI: {error}") from None
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in (*_SERVERS, *_DATABASES):
        raise UserError(
            f"tracking.uri={redact(uri)!r} is no tracking store; use {DEFAULT_URI}, http(s)://HOST:PORT "
            "or a postgresql, mysql or mssql database"
        )
    if scheme != "sqlite":
        return uri
    path = uri.removeprefix(_SQLITE)
    if not uri.startswith(_SQLITE) or path in ("", ":memory:"):
        raise UserError(f"tracking.uri={uri!r} names no file; use {_SQLITE}FILE.db")
    return f"{_SQLITE}{Path(path).absolute()}"


def database_path(uri: str) -> Path | None:
    """File of a resolved SQLite URI; ``None`` for other stores."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def connect(uri: str, *, create: bool) -> MlflowClient:
    """Connect to the store of a resolved URI.

    Args:
        uri: From ``resolve_uri``.
        create: Create the SQLite file where there is none, which takes seconds.

    Raises:
        StoreUnavailable: If it does not answer.
        UserError: If there is no such store, or it refuses.
    """
    path = database_path(uri)
    if path is not None and not create and not path.is_file():
        raise UserError(
            f"there is no tracking database {path}; name the right one (--tracking-uri, tracking.uri=)"
        )
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:  # or it reports how it builds its tables
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # or it reports every retry
    with explained(f"tracking.uri={redact(uri)!r} cannot be used"), _only_creator(path if create else None):
        if urlsplit(uri).scheme not in _SERVERS:
            _probe_database(uri)
        client = MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def settings(**values: str) -> Iterator[None]:
    """Set waiting times of MLflow for a while, by variable; those that the user has set stay."""
    before = {name: os.environ[name] for name in values if name in OWN_SETTINGS}
    os.environ.update({name: values[name] for name in before})
    try:
        yield
    finally:
        os.environ.update(before)


def expect_large_files() -> None:
    """Allow minutes, not seconds, for the answer to an upload or a file's next bytes."""
    if "MLFLOW_HTTP_REQUEST_TIMEOUT" in OWN_SETTINGS:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = _LARGE_FILE_TIMEOUT_S


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn any exception of MLflow into a ``UserError`` of one line that begins with ``problem``."""
    try:
        yield
    except UserError:
        raise
    # Plugins and database drivers bring their own exceptions.
    except Exception as error:
        kind = StoreUnavailable if is_unavailable(error) else UserError
        raise kind(f"{problem}: {one_line(error)}") from error


def is_unavailable(error: BaseException) -> bool:
    """True if an error means that the store cannot be reached, is starting or has broken down.

    An error in the request itself, such as a wrong password, is not worth waiting for.
    """
    if isinstance(error, MlflowException) and error.error_code in _UNAVAILABLE_CODES:
        return not _UNUSABLE.search(str(error))
    if isinstance(error, StoreUnavailable):
        return True
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return not _UNUSABLE.search(str(error))
    return isinstance(error, requests.RequestException) and not isinstance(
        error, requests.exceptions.InvalidURL
    )


def one_line(error: BaseException) -> str:
    """Message of an exception on one line, without credentials or control characters, at most 300 characters.

    For a request that did not get through it names the cause alone.
    """
    cause = _lost_connection(error)
    if cause is not None:
        return f"the server does not answer ({printable(redact(cause))})"
    if re.search(r"error code 401|UNAUTHENTICATED", str(error)):
        return (
            "the server does not know this name and password; give MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials"
        )
    if re.search(r"error code 403|PERMISSION_DENIED", str(error)):
        return "the server does not allow this user to do that (403); ask its administrator"
    text = printable(redact(" ".join(str(error).split()))) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


def _lost_connection(error: BaseException) -> str | None:
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    if not any(isinstance(link, requests.RequestException) for link in chain):
        return None
    for link in reversed(chain):
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
        if isinstance(link, requests.Timeout | TimeoutError):
            return "timed out"
    return type(chain[-1]).__name__


@contextlib.contextmanager
def _only_creator(path: Path | None) -> Iterator[None]:
    # Trials of a sweep start together, and MLflow does not guard the creation of its tables.
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=60):
        yield


def _probe_database(uri: str) -> None:
    # MLflow retries a database that cannot be opened for 100 s; asking it once is enough.
    engine = sqlalchemy.create_engine(uri)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
