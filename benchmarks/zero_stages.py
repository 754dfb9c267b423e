"""Memory and time of every ZeRO stage, with and without offloading, on two ranks, for the full-size model.

python -m benchmarks.zero_stages [--frames 27] [--device cpu]

Each case is a job of its own. Memory is a rank's peak: on a CPU of the whole process, on a GPU of what torch
allocated there. Close other programs first.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import write_result
from benchmarks.harness import make_shards
from langpose_dist.config import build_config, load_config
from langpose_dist.data.corpus import Corpus
from langpose_dist.data.loader import TrainingStream, load_batches
from langpose_dist.tasks.pretrain import PretrainTask
from langpose_dist.tasks.task import total_loss
from langpose_dist.train.distributed.processes import join_processes, leave_processes
from langpose_dist.train.engine import build_engine

CASES = [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (2, "optimizer"), (3, "parameters")]
RANKS = 2
STEPS = 4


def one_rank(config_file: Path) -> None:
    """Some updates; rank 0 prints what they took."""
    config = load_config(config_file)
    processes = join_processes(config.train)
    corpus = Corpus.open(config)
    engine = build_engine(PretrainTask.build(config, corpus), config, processes, 100)
    stream = TrainingStream(
        len(corpus.training_set),
        seed=0,
        position=0,
        global_batch_size=config.train.global_batch_size,
        micro_batch_size=engine.train_micro_batch_size_per_gpu(),
        rank=processes.rank,
        world_size=processes.world_size,
    )
    batches = load_batches(corpus.training_set, stream, num_workers=0)
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        engine.backward(
            total_loss(engine(next(batches).to(processes.device)), engine.module.weights, {}).mean()
        )
        engine.step()
        if processes.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    if processes.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    everyone = processes.gather(peak)
    if processes.is_main:
        print(json.dumps({"seconds": min(seconds[1:]), "peak_mb": max(everyone)}))
    processes.highest(0)
    leave_processes()


def measure(
    folder: Path, shards: Path, stage: int, offload: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """One job."""
    train = {
        "zero_stage": stage,
        "offload": offload,
        "global_batch_size": RANKS,
        "device": arguments.device,
        "num_threads": 1,
        "max_steps": 1000,
        "precision": arguments.precision,
    }
    config = build_config(
        {
            "output": str(folder / "run"),
            "data": {"path": str(shards), "num_workers": 0},
            "window": {"num_frames": arguments.frames, "stride": arguments.frames},
            "masking": {"time_window_frames": [2, min(80, arguments.frames)]},
            "train": train,
        }
    )
    file = folder / f"{stage}-{offload}.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "benchmarks.zero_stages", "--rank-of", str(file)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return {
        "zero_stage": stage,
        "offload": offload,
        "seconds_per_step": round(found["seconds"], 3),
        "peak_memory_per_rank_mb": round(found["peak_mb"]),
    }


def main() -> None:
    """Measure every case and write the numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=27, help="frames of a window; one window per rank")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--name", default="zero_stages", help="file name of the result")
    parser.add_argument("--rank-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of is not None:
        one_rank(arguments.rank_of)
        return
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        shards = make_shards(base / "shards", frames=max(21, arguments.frames + 12))
        rows = []
        for stage, offload in CASES:
            rows.append(measure(base, shards, stage, offload, arguments))
            print(rows[-1], flush=True)
    print(write_result(arguments.name, {"ranks": RANKS, "cases": rows}, arguments))


if __name__ == "__main__":
    main()
