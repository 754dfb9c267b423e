"""Target of a launcher in the tests: the same 20 steps by plain PyTorch and by the engine at every stage.

python compare_engines.py CONFIG.yaml OUTPUT.json
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from langpose_dist.batch import WindowBatch
from langpose_dist.config import RunConfig, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.loader import TrainingStream, load_batches
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.tasks.task import total_loss
from langpose_dist.train.checkpoint import Snapshot
from langpose_dist.train.distributed.processes import Processes, join_processes, leave_processes
from langpose_dist.train.engine import build_engine
from langpose_dist.train.engine_state import capture, restore_optimizer

STEPS = 20
CASES = [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (1, "optimizer"), (2, "optimizer")]
CASES += [(3, "optimizer"), (3, "parameters")]


def batches(corpus: Corpus, micro: int, rank: int, ranks: int, step: int = 0) -> Iterator[WindowBatch]:
    config, dataset = corpus.config, corpus.training_set
    size = config.train.global_batch_size
    stream = TrainingStream(
        len(dataset),
        seed=config.seed,
        position=step * size,
        global_batch_size=size,
        micro_batch_size=micro,
        rank=rank,
        world_size=ranks,
    )
    return load_batches(dataset, stream, num_workers=0)


def plain(task: PretrainTask, corpus: Corpus) -> list[float]:
    """One process, whole batches, nothing but PyTorch."""
    config = corpus.config.optimizer
    matrices = [p for p in task.parameters() if p.requires_grad and p.ndim == 2]
    others = [p for p in task.parameters() if p.requires_grad and p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=config.betas,
    )
    found = []
    stream = batches(corpus, corpus.config.train.global_batch_size, 0, 1)
    for _ in range(STEPS):
        loss = total_loss(task(next(stream)), task.weights, {}).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*matrices, *others], config.clip_norm)
        optimizer.step()
        found.append(float(loss))
    return found


def train(
    config: RunConfig, corpus: Corpus, processes: Processes, first: int, last: int, snapshot: Snapshot | None
) -> tuple[list[float], Snapshot]:
    task = PretrainTask.build(config, corpus)
    if snapshot is not None:
        task.model.load_state_dict(dict(snapshot.weights))
    engine: Any = build_engine(task, config, processes, num_steps=100, step=first)
    if snapshot is not None:
        restore_optimizer(engine, snapshot.optimizer, first)
    micro = engine.train_micro_batch_size_per_gpu()
    stream = batches(corpus, micro, processes.rank, processes.world_size, first)
    found = []
    for _ in range(first, last):
        total = torch.zeros(())
        count = engine.gradient_accumulation_steps()
        for _ in range(count):
            loss = total_loss(engine(next(stream)), task.weights, {}).mean()
            engine.backward(loss)
            engine.step()
            total = total + loss.detach() / (count * processes.world_size)
        found.append(float(processes.sum(total)))
    return found, processes.broadcast(capture(engine, processes))


def with_engine(config: RunConfig, stage: int, offload: str) -> RunConfig:
    train = config.train.model_copy(update={"zero_stage": stage, "offload": offload})
    return config.model_copy(update={"train": train})


def main(config_file: str, output: str) -> None:
    config = load_config(config_file)
    processes = join_processes(config.train)
    corpus = Corpus.open(config)
    found: dict[str, Any] = {"plain": plain(PretrainTask.build(config, corpus), corpus)}
    before: Snapshot | None = None
    for stage, offload in CASES:
        case = with_engine(config, stage, offload)
        half = STEPS // 2
        name = f"{stage} {offload}"
        losses, middle = train(case, corpus, processes, 0, half, None)
        rest, _ = train(case, corpus, processes, half, STEPS, middle)
        found[name] = losses + rest
        # From the stage before, as a run whose configuration changed.
        found[f"{name} after another"], _ = train(case, corpus, processes, half, STEPS, before or middle)
        before = middle
    if processes.is_main:
        Path(output).write_text(json.dumps(found), encoding="utf-8")
    processes.highest(0)
    leave_processes()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
    os._exit(0)
