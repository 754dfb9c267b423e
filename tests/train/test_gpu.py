"""The same training on a GPU: in float32 close to the CPU's, in bfloat16 close to float32."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from langpose_dist.runs.metrics import read_metrics
from tests.corpus import build_corpus, tiny_config

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]


def losses(folder: Path, name: str, *words: str, **train: Any) -> list[float]:
    config = tiny_config(folder / "shards", folder / name, train={**train, "num_threads": None})
    file = folder / f"{name}.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "langpose_dist.cli.main", "train", "--config", str(file), *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / name / "model.safetensors").exists()
    lines = read_metrics(folder / name / "metrics.jsonl")
    return [float(line["train/loss"]) for line in lines if "train/loss" in line]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_gpu_trains_like_the_cpu(tmp_path: Path, stage: int) -> None:
    build_corpus(tmp_path / "shards")
    cpu = losses(tmp_path, "cpu", device="cpu", precision="float32")
    gpu = losses(tmp_path, "gpu", device="cuda", precision="float32", zero_stage=stage)
    assert gpu == pytest.approx(cpu, rel=1e-3)


@pytest.mark.parametrize(
    ("stage", "offload"), [(0, "none"), (1, "none"), (2, "optimizer"), (3, "none"), (3, "parameters")]
)
def test_a_resumed_run_repeats_the_uninterrupted_one(tmp_path: Path, stage: int, offload: str) -> None:
    build_corpus(tmp_path / "shards")
    train = {"device": "cuda", "zero_stage": stage, "offload": offload, "max_steps": 6, "checkpoint_every": 3}
    whole = losses(tmp_path, "run", precision="float32", **train)
    # As after a crash in step 5.
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000006")
    (tmp_path / "run/checkpoints/latest").write_text("step-00000003\n", encoding="utf-8")
    assert losses(tmp_path, "run", "--resume", precision="float32", **train) == pytest.approx(whole, rel=1e-5)


def test_bfloat16_stays_close(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    exact = losses(tmp_path, "float32", device="cuda", precision="float32")
    assert losses(tmp_path, "auto", device="cuda", precision="auto") == pytest.approx(exact, rel=0.05)
