"""One process and two gloo ranks, with and without accumulation, every ZeRO stage: the same training."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.corpus import build_corpus, tiny_config

STEPS = 3


def take_steps(folder: Path, ranks: int, name: str, **train: Any) -> dict[str, Any]:
    config = tiny_config(folder / "shards", folder / name, train=train)
    file, output = folder / f"{name}.yaml", folder / f"{name}.pt"
    file.write_text(config.to_yaml(), encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    target = [str(Path(__file__).with_name("take_steps.py")), str(file), str(output), str(STEPS)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*(launcher if ranks > 1 else [sys.executable]), *target],
        env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(output, weights_only=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("equivalence")
    build_corpus(folder / "shards")
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> dict[str, Any]:
    """One process, the whole global batch at once."""
    return take_steps(folder, 1, "reference")


@pytest.mark.dist
@pytest.mark.parametrize(
    ("ranks", "train"),
    [
        (1, {"micro_batch_size": 3}),
        pytest.param(2, {"micro_batch_size": 6}, marks=pytest.mark.slow),
        (2, {"micro_batch_size": 2}),
    ],
    ids=["accumulation", "two ranks", "two ranks with accumulation"],
)
def test_loss_gradient_and_metrics_are_those_of_one_process(
    folder: Path, reference: dict[str, Any], ranks: int, train: dict[str, Any]
) -> None:
    found = take_steps(folder, ranks, f"{ranks}-{train['micro_batch_size']}", **train)
    assert len(found["losses"]) == STEPS
    assert found["losses"] == pytest.approx(reference["losses"], rel=1e-5)
    for step in range(STEPS):
        for mine, theirs in zip(found["gradients"][step], reference["gradients"][step], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    assert found["metrics"] == pytest.approx(reference["metrics"], rel=1e-4)
    assert found["num_windows"] == reference["num_windows"]
    assert found["num_frames"] == reference["num_frames"]


@pytest.mark.dist
@pytest.mark.parametrize("stage", [*(pytest.param(stage, marks=pytest.mark.slow) for stage in (1, 2)), 3])
def test_every_zero_stage_trains_the_same(folder: Path, reference: dict[str, Any], stage: int) -> None:
    found = take_steps(folder, 2, f"stage-{stage}", zero_stage=stage, micro_batch_size=3)
    assert found["losses"] == pytest.approx(reference["losses"], rel=1e-5)
    assert found["metrics"] == pytest.approx(reference["metrics"], rel=1e-3)


def test_the_reference_sees_every_window_and_frame_once(reference: dict[str, Any]) -> None:
    # validation clips of 21, 12, 27, 30 and 33 frames in windows of 9
    assert reference["num_frames"] == 21 + 12 + 27 + 30 + 33
    assert reference["num_windows"] == 3 + 2 + 3 + 4 + 4
