"""Cost of distributed training on this machine: the engine, ranks, starts, stops and checkpoints.

python -m benchmarks.distributed [--name distributed]

- Engine: milliseconds of one update by plain PyTorch and by this package's loop, in turns in one process, of
  a small model (where the difference shows) on the tiny made-up corpus.
- Ranks: clips per second of a whole job with 1 and 2 ranks, one thread each.
- Stops and starts: seconds from SIGTERM to the end of the last process, and from a start to its first step.
- Checkpoints: the full-size model with its moments; how long training waits, and how long the write takes.

Close other programs first: only ratios within one run mean something.
"""

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import write_result
from benchmarks.harness import job, make_shards, prepare
from langpose_dist.config import RunConfig, build_config, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.models.langpose import LangPose
from langpose_dist.models.weights import weights_header
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.runs.tracker import NullTracker
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.tasks.task import total_loss
from langpose_dist.train.checkpoint import CheckpointWriter, Snapshot, TrainState
from langpose_dist.train.distributed.gate import Gate
from langpose_dist.train.distributed.processes import Processes, join_processes, leave_processes
from langpose_dist.train.engine import build_engine, build_optimizer
from langpose_dist.train.evaluate import Evaluator
from langpose_dist.train.trainer import Trainer

CONFIGS = Path(__file__).parents[1] / "configs"
UPDATES = 60


def measure_engine(shards: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Plain PyTorch and the loop, in turns of ten updates; batches come from memory for both."""
    small = load_config(CONFIGS / "pretrain/small.yaml").to_dict()
    small["data"] |= {"path": str(shards), "num_workers": 0}
    small["train"] |= {"device": "cpu", "num_threads": threads, "max_steps": 1000, "global_batch_size": 32}
    config = build_config({**small, "output": str(folder / "engine")})
    processes = join_processes(config.train)
    try:
        corpus = Corpus.open(config)
        engine_seconds, plain_seconds = _in_turns(config, corpus, processes)
    finally:
        leave_processes()
    plain, engine = statistics.median(plain_seconds), statistics.median(engine_seconds)
    return {
        "model": "configs/pretrain/small.yaml, 32 windows of 9 frames",
        "plain_ms": round(1000 * plain, 2),
        "loop_ms": round(1000 * engine, 2),
        "overhead_ms": round(1000 * (engine - plain), 2),
        "overhead_percent": round(100 * (engine / plain - 1), 1),
        "updates": UPDATES,
    }


def _in_turns(config: RunConfig, corpus: Corpus, processes: Processes) -> tuple[list[float], list[float]]:
    Path(config.output).mkdir(parents=True)
    task = PretrainTask.build(config, corpus)
    trainer = Trainer(
        config=config,
        run_dir=Path(config.output),
        processes=processes,
        corpus=corpus,
        engine=build_engine(PretrainTask.build(config, corpus), config, processes, 1000),
        evaluator=Evaluator(corpus, config, processes),
        tracker=NullTracker(),
        gate=Gate(processes),
        num_steps=1000,
        state=TrainState(),
        origin={},
    )
    trainer.engine.train()
    batches = trainer.batches()
    batch = next(batches)
    repeated = iter(lambda: batch, None)
    optimizer = build_optimizer(task, config.optimizer, fused=False)
    engine: list[float] = []
    plain: list[float] = []
    for _ in range(UPDATES // 10):
        for _ in range(10):
            started = time.perf_counter()
            trainer.train_step(repeated)
            engine.append(time.perf_counter() - started)
        for _ in range(10):
            started = time.perf_counter()
            total_loss(task(batch), task.weights, {}).mean().backward()
            nn.utils.clip_grad_norm_(task.parameters(), config.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            plain.append(time.perf_counter() - started)
    batches.close()
    return engine, plain


def measure_ranks(shards: Path, base: Path) -> list[dict[str, Any]]:
    """Whole jobs; the middle of each, without start and end."""
    rows = []
    for ranks in (1, 2):
        model = {"dim": 64, "dim_representation": 64, "depth": 2, "num_heads": 2, "embed_dim": 64}
        train = {"max_steps": 120, "global_batch_size": 48, "checkpoint_every": 1000, "evaluate_every": None}
        folder = prepare(base / f"ranks-{ranks}", shards, model=model, train=train)
        with job(folder, ranks=ranks) as running:
            running.wait()
        lines = read_metrics(folder / "run/metrics.jsonl")
        rates = [
            line["train/clips_per_second"] for line in lines if line["step"] > 20 and "train/loss" in line
        ]
        rows.append({"ranks": ranks, "clips_per_second": round(statistics.median(rates), 1)})
    rows[1]["times_one_rank"] = round(rows[1]["clips_per_second"] / rows[0]["clips_per_second"], 2)
    return rows


def measure_stops(shards: Path, base: Path, repeats: int) -> list[dict[str, Any]]:
    """SIGTERM to the launcher, and the start after it."""
    rows = []
    for launcher, ranks in (("none", 1), ("torchrun", 2), ("deepspeed", 2)):
        train = {"max_steps": 100_000, "evaluate_every": None}
        folder = prepare(base / f"stops-{launcher}", shards, train=train)
        stops, starts = [], []
        reached = 0
        for _ in range(repeats + 1):
            began = time.monotonic()
            with job(folder, launcher, ranks, words=("--resume-if-started",)) as running:
                running.wait_for(lambda: "step/s" in running.output and "/100000" in running.output)
                running.wait_for_step(reached + 1)
                starts.append(time.monotonic() - began)
                time.sleep(0.5)
                sent = time.monotonic()
                running.process.send_signal(signal.SIGTERM)
                running.wait_until_gone()
                stops.append(time.monotonic() - sent)
            reached = max(int(line["step"]) for line in read_metrics(folder / "run/metrics.jsonl"))
        rows.append(
            {
                "launcher": launcher,
                "ranks": ranks,
                "sigterm_to_end_s": {
                    "median": round(statistics.median(stops), 2),
                    "most": round(max(stops), 2),
                },
                "start_to_first_resumed_step_s": round(statistics.median(starts[1:]), 2),
                "times": repeats,
            }
        )
    return rows


def measure_checkpoints(base: Path) -> dict[str, Any]:
    """The paper's model: copying (training waits), then writing beside it."""
    config = RunConfig()
    model = LangPose.build(config, text_dim=384)
    moments = {
        f"{name}/{moment}": torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
        for moment in ("exp_avg", "exp_avg_sq")
    }
    writer = CheckpointWriter(base / "checkpoints", keep=1)
    stalls = []
    for step in range(1, 5):
        started = time.perf_counter()
        weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        copies = {name: value.clone() for name, value in moments.items()}
        writer.write(
            Snapshot(weights, copies),
            TrainState(step),
            weights_header(model.header(), config, {}),
        )
        stalls.append(time.perf_counter() - started)
        assert writer.wait() is None
    folder = base / "checkpoints/step-00000004"
    stall, write = statistics.median(stalls), statistics.median(writer.seconds)
    return {
        "megabytes": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1),
        "training_waits_s": round(stall, 3),
        "write_hash_and_flush_s": round(write, 2),
        "share_of_time_at_0.1_s_a_step_every_1000_percent": round(100 * stall / 100, 3),
        "the_same_if_training_waited_for_the_write_percent": round(100 * (stall + write) / 100, 3),
    }


def main() -> None:
    """Measure and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="stops and starts of each launcher (default: 5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine's measurement")
    parser.add_argument("--name", default="distributed", help="file name of the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        shards = make_shards(base / "shards")
        results = {
            "engine": measure_engine(shards, base, arguments.threads),
            "checkpoints": measure_checkpoints(base),
            "ranks": measure_ranks(shards, base),
            "stops_and_starts": measure_stops(shards, base, arguments.repeats),
        }
    for name, found in results.items():
        print(name, found)
    print(write_result(arguments.name, results, arguments))


if __name__ == "__main__":
    main()
