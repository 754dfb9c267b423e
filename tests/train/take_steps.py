"""Target of a launcher in the tests: some optimizer updates, with the global gradient of each.

python take_steps.py CONFIG.yaml OUTPUT.pt STEPS
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from langpose_dist.config import load_config
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.tasks.task import load_task
from langpose_dist.train.checkpoint import TrainState
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.guard import FiniteGuard, Losses
from langpose_dist.train.distributed.processes import join_processes, leave_processes
from langpose_dist.train.engine import build_engine
from langpose_dist.train.evaluate import Evaluator
from langpose_dist.train.trainer import Trainer


class Recorder(FiniteGuard):
    """Keeps what the loop shows its guard between backward pass and update."""

    def __init__(self, guard: FiniteGuard, task: torch.nn.Module) -> None:
        super().__init__(guard.processes)
        self.task = task
        self.losses: list[float] = []
        self.gradients: list[list[torch.Tensor]] = []

    def watch(self, step: int, summary: torch.Tensor, losses: Losses) -> None:
        super().watch(step, summary, losses)
        self.losses.append(float(summary[-2]))
        self.gradients.append([p.grad.clone() for p in self.task.parameters() if p.grad is not None])


def main(config_file: str, output: str, steps: int) -> None:
    config = load_config(config_file)
    processes = join_processes(config.train)
    corpus = load_task(config.task).open(config)
    task = load_task(config.task).build(config, corpus)
    engine = build_engine(task, config, processes, num_steps=100)
    Path(config.output).mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator(corpus, config, processes)
    trainer = Trainer(
        config=config,
        run_dir=Path(config.output),
        processes=processes,
        corpus=corpus,
        engine=engine,
        evaluator=evaluator,
        tracker=NullTracker(),
        gate=Gate(processes),
        num_steps=100,
        state=TrainState(),
        origin={},
    )
    recorder = Recorder(trainer.guard, task)
    trainer.guard = recorder
    batches = trainer.batches()
    engine.train()
    for _ in range(steps):
        trainer.train_step(batches)
    evaluation = evaluator.run(engine.module)
    if processes.is_main:
        torch.save(
            {
                "losses": recorder.losses,
                "gradients": recorder.gradients,
                "metrics": evaluation.metrics(),
                "captions": [asdict(caption) for caption in evaluation.captions or ()],
                "num_windows": evaluation.num_windows,
                "num_frames": evaluation.num_frames,
            },
            output,
        )
    leave_processes()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    os._exit(0)  # as launch/train.py does, and for its reason
