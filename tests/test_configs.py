"""Every configuration file that ships is accepted, and says only what differs from the defaults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from langpose_dist.config import RunConfig, load_config

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").glob("*/*.yaml"))


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values = {}
    for key, value in content.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return values


def test_there_are_configurations() -> None:
    assert FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_configuration_loads(file: Path) -> None:
    assert isinstance(load_config(file), RunConfig)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_configuration_repeats_no_default(file: Path) -> None:
    defaults = flat(RunConfig().to_dict())
    content = flat(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    assert [key for key, value in content.items() if value == defaults[key]] == []
