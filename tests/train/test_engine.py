"""Every ZeRO stage, with and without offloading, against plain PyTorch's AdamW on the same data."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import build_corpus, tiny_config
from tests.train import compare_engines
from tests.train.jobs import job

TARGET = Path(compare_engines.__file__)


def compare(folder: Path, ranks: int, **train: Any) -> dict[str, list[float]]:
    build_corpus(folder / "shards")
    optimizer = {"warmup_steps": 0, "schedule": "constant", "clip_norm": 0.5}
    config = tiny_config(folder / "shards", folder / "run", train=train, optimizer=optimizer)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    output = folder / "losses.json"
    with job(folder, "torchrun", ranks, words=[str(output)], target=TARGET, config_option=None) as running:
        assert running.wait(240) == 0, running.output[-4000:]
    return json.loads(output.read_text(encoding="utf-8"))


@pytest.mark.dist
@pytest.mark.parametrize(
    ("ranks", "train", "tolerance"),
    [
        (1, {"micro_batch_size": 4}, 1e-5),
        pytest.param(2, {"micro_batch_size": 3}, 1e-5, marks=pytest.mark.slow),
        pytest.param(2, {"precision": "bfloat16"}, 2e-2, marks=pytest.mark.slow),
    ],
    ids=["accumulation", "two ranks with accumulation", "two ranks in bfloat16"],
)
@pytest.mark.slow
def test_twenty_steps_of_every_stage_are_those_of_plain_adamw(
    tmp_path: Path, ranks: int, train: dict[str, Any], tolerance: float
) -> None:
    found = compare(tmp_path, ranks, **train)
    plain = found.pop("plain")
    assert len(plain) == compare_engines.STEPS
    assert plain[0] > 1.2 * plain[-1]  # it learns: equal losses say something
    assert len(found) == 2 * len(compare_engines.CASES)
    for name, losses in found.items():
        assert losses == pytest.approx(plain[-len(losses) :], rel=tolerance), name
