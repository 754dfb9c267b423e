"""The estimate of a GPU's memory, against what a GPU took and against what a real forward pass keeps."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from langpose_dist.config import RunConfig, UserError, build_config
from langpose_dist.tasks.task import Task, load_task, total_loss
from langpose_dist.train.memory import StepMemory, estimate_memory
from tests.corpus import build_corpus, tiny_config


def small(folder: Path, **sections: Any) -> RunConfig:
    if not (folder / "shards").exists():
        build_corpus(folder / "shards")
    return tiny_config(folder / "shards", folder / "run", **sections)


@pytest.mark.slow
def test_full_size_is_near_what_a_gpu_took(tmp_path: Path) -> None:
    build_corpus(tmp_path / "shards")
    content = {"data": {"path": str(tmp_path / "shards")}, "loss": {"contrastive": "none"}}
    memory = estimate_memory(build_config(content), 1)
    # An H200 with torch 2.11: encoder and pose head, 16 windows of 243 frames, with AdamW.
    assert memory.of(16) / 2**30 == pytest.approx(20.6, rel=0.1)
    assert memory.largest(memory.of(16)) == 16
    narrow = estimate_memory(build_config({**content, "model": {"stream": "bfloat16"}}), 1)
    assert narrow.per_window < 0.9 * memory.per_window
    recomputed = estimate_memory(build_config({**content, "model": {"recompute": True}}), 1)
    assert recomputed.per_window < 0.3 * memory.per_window


def test_as_many_bytes_as_a_real_forward_pass_keeps(tmp_path: Path) -> None:
    config = small(tmp_path, train={"precision": "float32"})
    task_class = load_task("pretrain")
    corpus = task_class.open(config)
    task = task_class.build(config, corpus).train()

    def kept(count: int) -> int:
        windows = corpus.training_set[[(0, 0)] * count]
        assert not isinstance(windows, UserError)
        sizes: dict[int, int] = {}
        alive: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            total_loss(task(windows), task.weights, {}).mean()
        return sum(sizes.values())

    real = (kept(6) - kept(2)) / 4
    assert estimate_memory(config, 1).per_window == pytest.approx(real, rel=0.02)


def test_ranks_share_what_zero_shares_out(tmp_path: Path) -> None:
    config = small(tmp_path)
    parameters = sum(p.numel() for p in _task(config).parameters() if p.requires_grad)
    assert estimate_memory(config, 1).fixed == estimate_memory(config, 4).fixed
    alone, shared = (
        estimate_memory(small(tmp_path, train={"zero_stage": 1}), ranks).fixed for ranks in (1, 4)
    )
    # Moments, and the copy of the weights that is updated.
    assert alone - shared == pytest.approx(parameters * (8 + 4) * 3 / 4, abs=8)


def test_a_run_that_does_not_fit_is_told_what_does() -> None:
    memory = StepMemory(fixed=2**30, per_window=2.0**30)
    assert "this GPU holds 7" in memory.describe(4, int(8.6 * 2**30))
    assert "micro_batch_size" not in memory.describe(4, int(8.6 * 2**30))
    assert "set train.micro_batch_size to that or less" in memory.describe(16, int(8.6 * 2**30))
    assert "it takes a larger GPU" in memory.describe(16, 2**30)


def _task(config: RunConfig) -> Task:
    task_class = load_task(config.task)
    return task_class.build(config, task_class.open(config))
