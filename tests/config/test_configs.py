"""Every configuration file that ships is accepted, and says only what differs from the defaults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from langpose_dist.config import RunConfig, load_config
from tuning.settings import Sweep, build_sweep, load_sweep

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").glob("*/*.yaml"))
SWEEPS = [file for file in FILES if file.parent.name == "sweep"]
RUNS = [file for file in FILES if file not in SWEEPS]


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    values = {}
    for key, value in content.items():
        # What is searched is written out, for people to see.
        is_section = isinstance(value, dict) and prefix + key != "sweep.space"
        values |= flat(value, f"{prefix}{key}.") if is_section else {prefix + key: value}
    return values


def test_there_are_configurations() -> None:
    assert RUNS
    assert [file.name for file in SWEEPS] == ["captioning.yaml", "loss_weights.yaml", "table1.yaml"]


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.name)
def test_a_shipped_configuration_loads(file: Path) -> None:
    assert isinstance(load_config(file), RunConfig)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_a_shipped_sweep_loads_at_the_papers_size_and_on_a_smaller_one(file: Path) -> None:
    sweep = load_sweep(file)
    assert isinstance(sweep, Sweep)
    assert sweep.config.model == RunConfig().model
    small = load_sweep([ROOT / "configs" / "pretrain" / "small.yaml", file])
    assert small.config.model.dim == 64
    assert small.config.output == sweep.config.output
    assert small.config.train.evaluate_every == 250


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_shipped_configuration_repeats_no_default(file: Path) -> None:
    defaults = flat(build_sweep({"sweep": {"evaluations": 1}}).to_dict()) | {"sweep.evaluations": None}
    content = flat(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    content.pop("sweep.space", None)
    assert [key for key, value in content.items() if value == defaults[key]] == []
