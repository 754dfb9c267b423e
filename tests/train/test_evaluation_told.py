"""The callback of a run's evaluations: what it is told, and how it ends the run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.config import RunConfig
from langpose_dist.runs.folder import RunFolder
from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config

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
