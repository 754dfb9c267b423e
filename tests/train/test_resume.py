"""A run that resumes with other ranks, workers and ZeRO stages than it began with."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import build_corpus
from tests.train.jobs import finish, job, losses, prepare, read_status
from tests.train.test_faults import FAULTY

pytestmark = pytest.mark.dist
STEPS, BATCH = 24, 12


def seen_windows(folder: Path) -> dict[int, list[str]]:
    """Step -> windows of all ranks; a step that was begun and dropped counts as it was done in the end."""
    seen: dict[int, list[str]] = {}
    for path in sorted(folder.glob("seen-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            seen.setdefault(entry["step"], []).extend(entry["keys"])
    return seen


@pytest.mark.slow
def test_ranks_workers_and_stage_may_change_with_every_resume(tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    num_windows = sum(
        -(-max(0, entry.num_frames - 9) // 4) + 1
        for shard in build_corpus(shards).shards
        if shard.split == "train"
        for entry in shard.samples
    )
    train = {"max_steps": STEPS, "evaluate_every": None, "checkpoint_every": 1000}
    whole = prepare(tmp_path / "whole", shards, model={"pool_dropout": 0.0}, train=train)
    finish(whole, "none", 1, words=["--fault", "none"], target=FAULTY)

    folder = prepare(tmp_path / "changing", shards, model={"pool_dropout": 0.0}, train=train)
    stages: list[tuple[int, int | None, list[str]]] = [
        (2, 7, ["train.zero_stage=2", "data.num_workers=1"]),
        (3, 15, ["--resume", "train.zero_stage=3", "data.num_workers=0"]),
        (1, None, ["--resume", "train.zero_stage=0", "data.num_workers=2"]),
    ]
    for ranks, stop, words in stages:
        fault = ["--fault", f"term-at-step-{stop}"]
        if stop is None:
            finish(folder, "torchrun", ranks, words=[*fault, *words], target=FAULTY)
            continue
        with job(folder, "torchrun", ranks, words=[*fault, *words], target=FAULTY) as running:
            running.wait()
            assert read_status(folder)["status"] == "interrupted", running.output[-3000:]
        assert read_status(folder)["step"] == stop

    expected, found = seen_windows(whole), seen_windows(folder)
    assert sorted(found) == list(range(STEPS))
    assert {step: sorted(keys) for step, keys in found.items()} == {
        step: sorted(keys) for step, keys in expected.items()
    }
    # Epochs straddle batches: count by position, in the order in which one rank saw them.
    stream = [key for step in range(STEPS) for key in expected[step]]
    for epoch in range(len(stream) // num_windows):
        counts = Counter(stream[epoch * num_windows :][:num_windows])
        assert len(counts) == num_windows
        assert set(counts.values()) == {1}
    assert len(stream) // num_windows >= 2

    values = compare(losses(whole)), compare(losses(folder))
    assert len(values[0]) == STEPS
    assert values[1] == pytest.approx(values[0], rel=1e-4)


def compare(lines: list[tuple[int, dict[str, Any]]]) -> list[float]:
    return [values["train/loss"] for _, values in lines if "train/loss" in values]
