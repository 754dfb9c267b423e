"""What tests of sweeps share."""

from pathlib import Path

import pytest

from tests.corpus import build_corpus


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(folder)
    return folder
