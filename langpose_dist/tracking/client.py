"""How every part of the package reaches MLflow: one place for addresses, waiting times and messages."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient

from langpose_dist.config import TrackingConfig, UserError
from langpose_dist.environment import redact

DEFAULT_URI: str = TrackingConfig().uri
_SQLITE = "sqlite:///"
_SERVERS = ("http", "https")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def resolve_uri(uri: str | None) -> str:
    """The tracking URI to use: SQLite paths made absolute, so that a change of folder cannot split a store.

    Args:
        uri: As configured. ``None`` and the default give way to ``MLFLOW_TRACKING_URI``.

    Raises:
        UserError: If nothing can be stored at such a URI.
    """
    if uri is None or uri == DEFAULT_URI:
        uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
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
    """The file of a resolved SQLite URI; ``None`` for other stores."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def connect(uri: str, *, create: bool) -> MlflowClient:
    """A client of a resolved URI that has been seen to answer.

    Args:
        uri: From ``resolve_uri``.
        create: Create the SQLite file where there is none, which takes seconds.

    Raises:
        UserError: If there is no such store or it does not answer.
    """
    path = database_path(uri)
    if path is not None and not create and not path.is_file():
        raise UserError(f"there is no tracking database {path}; name the right one with --tracking-uri")
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:  # or it tells how it builds its tables
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    with explained(f"tracking.uri={redact(uri)!r} cannot be used"), _only_creator(path if create else None):
        if urlsplit(uri).scheme not in _SERVERS:
            _probe_database(uri)
        client = MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


@contextlib.contextmanager
def explained(problem: str) -> Iterator[None]:
    """Turn whatever MLflow raises into a ``UserError`` of one line that begins with ``problem``."""
    try:
        yield
    except UserError:
        raise
    # Plugins and database drivers bring their own exceptions.
    except Exception as error:
        raise UserError(f"{problem}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An exception's message on one line, without credentials, at most 300 characters."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 300 else text[:297] + "..."


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
