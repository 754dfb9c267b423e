from typing import Annotated

import pytest

from langpose_dist.config import ConfigError, Section, load_config
from langpose_dist.config.affects import DATA, INPUT, RUNTIME, keys_that_affect, marks
from langpose_dist.config.schema import RunConfig

DEFAULTS_FIRST_HASH = "5c02ce12fd1d2049"
"""Hash of the defaults as commit 53901be computed it."""


def test_every_key_carries_one_mark() -> None:
    found = dict(marks(RunConfig))
    assert found.keys() == set(RunConfig().to_flat())


def test_a_key_without_a_mark_is_an_error() -> None:
    class Careless(Section):
        good: Annotated[int, DATA] = 1
        forgotten: int = 2

    with pytest.raises(TypeError, match="forgotten must carry one mark"):
        dict(marks(Careless))


@pytest.mark.parametrize(
    "override",
    [
        *("train.zero_stage=2", "train.micro_batch_size=2", "evaluation.num_pictures=0"),
        *("evaluation.batch_size=3", "model.compile=true", "data.path=elsewhere", "train.log_every=1"),
    ],
)
def test_the_hash_leaves_out_what_changes_no_result(override: str) -> None:
    assert load_config(None, [override]).hash() == RunConfig().hash()


@pytest.mark.parametrize(
    "override",
    [
        *("seed=1", "model.depth=4", "loss.temperature=0.2", "window.stride=27", "train.max_steps=3"),
        *("evaluation.max_windows=3", "camera.projection=orthographic", "noise.enabled=false"),
    ],
)
def test_the_hash_follows_what_changes_a_result(override: str) -> None:
    assert load_config(None, [override]).hash() != RunConfig().hash()


def test_a_hash_of_the_first_kind_is_recognised() -> None:
    assert RunConfig().has_hash(RunConfig().hash())
    assert RunConfig().has_hash(DEFAULTS_FIRST_HASH)
    assert load_config(None, ["tracking.enabled=false"]).has_hash(DEFAULTS_FIRST_HASH)
    assert not load_config(None, ["seed=1"]).has_hash(DEFAULTS_FIRST_HASH)


def test_keys_are_found_by_their_mark() -> None:
    assert "camera.yaw" in keys_that_affect(RunConfig, INPUT)
    assert not keys_that_affect(RunConfig, INPUT) & keys_that_affect(RunConfig, RUNTIME)


@pytest.mark.parametrize(
    ("task", "hint"), [("pretrian", "did you mean 'pretrain'"), ("x", "known are pretrain")]
)
def test_an_unknown_task_is_a_mistake(task: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(None, [f"task={task}"])
