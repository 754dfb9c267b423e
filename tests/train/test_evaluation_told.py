"""Whoever watches a run's evaluations: what is told, how it ends the run, how another goes on from there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import RunConfig, UserError, load_config
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.train.checkpoint import TrainState, adopt_checkpoint, find_checkpoint, publish
from langpose_dist.train.run import go_on_from
from tests.corpus import build_corpus, tiny_config
from tests.train.test_checkpoint import snapshot

ROOT = Path(__file__).parents[2]
WATCH = """
import json, sys
from pathlib import Path
from langpose_dist.config import load_config
from langpose_dist.train.checkpoint import verify_checkpoint
from langpose_dist.train.run import train
from langpose_dist.train.distributed.stop import EarlyStop
from langpose_dist.runs.tracker import NullTracker

def told(step, metrics, folder):
    print(json.dumps({"step": step, "metrics": metrics, "saved": verify_checkpoint(folder).step}), flush=True)
    if step == int(sys.argv[2]):
        raise EarlyStop("enough")

try:
    train(load_config(sys.argv[1]), NullTracker(), resume="if started", on_evaluation=told)
except EarlyStop as end:
    print(json.dumps({"ended": str(end)}))
"""


def watch(config: RunConfig, enough: int = 0) -> list[dict[str, Any]]:
    """Train in a process of its own; returns what was told."""
    file = Path(config.output).with_suffix(".yaml")
    file.write_text(config.to_yaml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WATCH, str(file), str(enough)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    build_corpus(folder)
    return folder


def make(shards: Path, output: Path, **changes: Any) -> RunConfig:
    return tiny_config(shards, output, train={"max_steps": 8, "evaluate_every": 2}, **changes)


def test_every_evaluation_but_the_last_is_told_with_its_checkpoint_and_may_end_the_run(
    shards: Path, tmp_path: Path
) -> None:
    config = make(shards, tmp_path / "run")
    told = watch(config, enough=4)
    assert [line.get("step") for line in told] == [2, 4, None]
    assert told[-1] == {"ended": "enough"}
    assert [line["saved"] for line in told[:2]] == [2, 4]
    run_dir = Path(config.output)
    lines = {line["step"]: line for line in read_metrics(run_dir / "metrics.jsonl")}
    assert told[1]["metrics"]["validation/masked/mpjpe_mm"] == lines[4]["validation/masked/mpjpe_mm"]
    assert RunFolder(run_dir).read_status() == "finished"
    assert RunFolder(run_dir).read_reason() == "enough"
    assert not (run_dir / "model.safetensors").exists()

    again = watch(config)  # what was told is not told again, what comes last is in the result
    assert [line["step"] for line in again] == [6]
    assert (run_dir / "model.safetensors").exists()
    assert RunFolder(run_dir).read_reason() == ""


@pytest.mark.slow
def test_a_run_goes_on_from_anothers_checkpoint_with_other_weights_of_the_loss(
    shards: Path, tmp_path: Path
) -> None:
    donor = make(shards, tmp_path / "donor")
    watch(donor, enough=4)
    config = make(shards, tmp_path / "taker", loss={"lambda_3d": 3.0}, optimizer={"learning_rate": 1e-4})
    watch(config, enough=2)
    found = find_checkpoint(tmp_path / "donor/checkpoints")
    assert found is not None
    other = make(shards, tmp_path / "taker", loss={"lambda_3d": 5.0}, optimizer={"learning_rate": 2e-4})
    go_on_from(found[0], other)
    told = watch(other)
    assert [line["step"] for line in told] == [6]
    run_dir = tmp_path / "taker"
    assert load_config(run_dir / "config.yaml").loss.lambda_3d == 5.0
    steps = [line["step"] for line in read_metrics(run_dir / "metrics.jsonl") if "train/loss" in line]
    assert steps == [1, 2, 5, 6, 7, 8]  # its own of before, and what came after the other's


def test_a_damaged_checkpoint_is_not_taken_over(shards: Path, tmp_path: Path) -> None:
    source, own = tmp_path / "source", tmp_path / "own"
    source.mkdir()
    own.mkdir()
    donor = publish(source, snapshot(6), TrainState(step=6), {})
    publish(own, snapshot(3), TrainState(step=3), {})
    with (donor / "model.safetensors").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        adopt_checkpoint(donor, own)
    assert [path.name for path in own.glob("step-*")] == ["step-00000003"]
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        go_on_from(donor, make(shards, tmp_path / "run"))


def test_a_copy_of_a_checkpoint_under_any_name_replaces_all_others(tmp_path: Path) -> None:
    source, own = tmp_path / "source", tmp_path / "own"
    source.mkdir()
    own.mkdir()
    donor = publish(source, snapshot(6), TrainState(step=6), {})
    donor.rename(source / "checkpoint_000002")
    for step in (3, 9):
        publish(own, snapshot(step), TrainState(step=step), {})
    (own / "best").write_text("step-00000009\n", encoding="utf-8")
    adopt_checkpoint(source / "checkpoint_000002", own)
    assert sorted(path.name for path in own.iterdir()) == ["latest", "step-00000006"]
    found = find_checkpoint(own, strict=True)
    assert found is not None
    assert found[1].step == 6
