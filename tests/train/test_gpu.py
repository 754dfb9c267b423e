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


# Processes of their own: the shape checks of the tests would wrap kernels and look at values.
_KERNEL = """
import torch
from langpose_dist.models.layers import SpatialAttention

for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float16, 3e-3)):
    torch.manual_seed(0)
    layer = SpatialAttention(512, 8, 0.0).cuda()
    x = torch.randn(3, 243, 17, 512, device="cuda")
    found = []
    for is_fused in (False, True):
        layer.is_fused = is_fused
        y = x.clone().requires_grad_()
        with torch.autocast("cuda", dtype=dtype):
            mixed = layer(y)
        mixed.float().square().sum().backward()
        found.append((mixed.float().detach(), y.grad, layer.qkv.weight.grad.clone()))
        layer.zero_grad()
    for plain, ours in zip(*found, strict=True):
        assert (ours - plain).norm() < tolerance * plain.norm(), dtype
print("same")
"""
_WAITS = """
import sys, torch
from unittest import mock
from langpose_dist.config import load_config
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.train.run import train
from langpose_dist.train.trainer import Trainer

original = Trainer.train_step

def train_step(trainer, batches):
    # From the third step on nothing may wait for the GPU but the verdict on the step before.
    if trainer.step >= 3:
        torch.cuda.set_sync_debug_mode("error")
    try:
        original(trainer, batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")

with mock.patch.object(Trainer, "train_step", train_step):
    train(load_config(sys.argv[1], []), NullTracker())
print("done")
"""


def run_code(code: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_kernel_over_joints_agrees_with_torch() -> None:
    assert run_code(_KERNEL) == "same\n"


def test_no_step_waits_for_the_gpu(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    train = {"device": "cuda", "max_steps": 8, "log_every": 8, "num_threads": None}
    file = tmp_path / "config.yaml"
    config = tiny_config(tmp_path / "shards", tmp_path / "run", train=train)
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert "done" in run_code(_WAITS, str(file))


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_task_trains_like_the_eager_one(tmp_path: Path, mode: str) -> None:
    build_corpus(tmp_path / "shards")
    eager = losses(tmp_path, "eager", device="cuda", precision="float32")
    words = ("model.compile=true", f"model.compile_mode={mode}")
    assert losses(tmp_path, mode, *words, device="cuda", precision="float32") == pytest.approx(
        eager, rel=1e-3
    )
