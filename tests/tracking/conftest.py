from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    with disk.small_disk(tmp_path / "disk", "1m") as place:
        yield place


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that several tests share: making one takes two seconds. The space is part of the test."""
    return f"sqlite:///{tmp_path_factory.mktemp('a store') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)
