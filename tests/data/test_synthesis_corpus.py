"""The files of a synthetic corpus: exact layout, the same bytes for the same seed, restarts."""

import json
from pathlib import Path

import numpy as np
import pytest

from langpose_dist.data.sample import DataError
from langpose_dist.data.synthesis.corpus import synthesize


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    record = synthesize(tmp_path / "one", hours=0.01, seed=3)
    assert record["num_seconds"] >= 36
    synthesize(tmp_path / "two", hours=0.01, seed=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
