"""Faults at random moments of a real two-rank job, again and again: what is lost, and how long ends take.

python -m benchmarks.faults [--times 20] [--only NAME ...]

For each kind of fault one run of a tiny model is started, broken, and started again, ``--times`` times, and
then left to its end. Every step's loss is compared with those of a run that nothing broke: a step that is
missing, doubled or different is a loss.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from benchmarks.harness import Job, job, last_step, make_shards, prepare
from langpose_dist.runs.metrics import read_metrics

STEPS = 1200
MOST_STEPS_BETWEEN_FAULTS = 40


@dataclass
class Fault:
    """A kind of fault."""

    name: str
    strike: Callable[[Job, random.Random], None]
    launcher: str = "torchrun"
    ends_job: bool = True
    changes: dict[str, Any] = field(default_factory=dict)


def signal_to_a_rank(running: Job, rng: random.Random) -> None:
    running.ranks()[rng.randrange(2)].send_signal(rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]))


def stop_file(running: Job, rng: random.Random) -> None:
    (running.folder / "run/stop").touch()


def kill_a_rank(running: Job, rng: random.Random) -> None:
    running.ranks()[rng.randrange(2)].send_signal(signal.SIGKILL)


def kill_in_a_checkpoint(running: Job, rng: random.Random) -> None:
    rank = running.ranks()[0]
    folder = running.folder / "run/checkpoints"
    running.wait_for(lambda: any(folder.glob(".unfinished-step-*")))
    time.sleep(rng.random() * 0.01)
    rank.send_signal(signal.SIGKILL)


def kill_a_worker(running: Job, rng: random.Random) -> None:
    running.ranks()[rng.randrange(2)].children()[0].send_signal(signal.SIGKILL)


def cut_the_newest_checkpoint(running: Job, rng: random.Random) -> None:
    # With one alone nothing would be left to resume from.
    running.wait_for(lambda: len(list((running.folder / "run/checkpoints").glob("step-*"))) > 1)
    kill_a_rank(running, rng)
    running.wait_until_gone()
    found = sorted((running.folder / "run/checkpoints").glob("step-*"))
    if found:
        victim = rng.choice(sorted(found[-1].iterdir()))
        os.truncate(victim, rng.randrange(victim.stat().st_size))


def hang_a_rank(running: Job, rng: random.Random) -> None:
    running.ranks()[rng.randrange(2)].suspend()


def fill_the_disk(running: Job, rng: random.Random) -> None:
    filler = running.folder / "run/filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 1024)
    time.sleep(rng.random() * 2)
    filler.unlink()


FAULTS = [
    Fault("a signal to one rank", signal_to_a_rank),
    Fault("SIGKILL of a rank", kill_a_rank),
    Fault("SIGTERM to the deepspeed launcher", lambda j, _: j.process.terminate(), launcher="deepspeed"),
    Fault("SIGKILL of the deepspeed launcher", lambda j, _: j.process.kill(), launcher="deepspeed"),
    Fault("SIGKILL of torchrun", lambda j, _: j.process.kill()),
    Fault("SIGKILL while a checkpoint is written", kill_in_a_checkpoint),
    Fault("SIGKILL, and the newest checkpoint cut", cut_the_newest_checkpoint),
    Fault("SIGKILL of a loader worker", kill_a_worker, ends_job=False, changes={"data": {"num_workers": 1}}),
    Fault("a stop file", stop_file),
    Fault("a full disk", fill_the_disk, ends_job=False),
    Fault("a hung rank", hang_a_rank, changes={"train": {"hang_timeout": 4}}),
]


def configuration(fault: Fault | None) -> dict[str, Any]:
    changes = dict(fault.changes) if fault else {}
    train = {"max_steps": STEPS, "checkpoint_every": 20, "evaluate_every": 500, **changes.pop("train", {})}
    return {"train": train, "evaluation": {"conditions": ["clean"], "num_pictures": 0}, **changes}


def measure(fault: Fault, folder: Path, shards: Path, reference: list[Any], times: int) -> dict[str, Any]:
    rng = random.Random(fault.name)
    prepare(folder, shards, **configuration(fault))
    is_disk = fault.strike is fill_the_disk
    if is_disk:
        (folder / "run").mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder / "run")]
        subprocess.run(mount, check=True)
    ends: list[float] = []
    repeated: list[int] = []
    starts = 0
    try:
        while len(ends) < times:
            starts += 1
            with job(folder, fault.launcher, words=("--resume-if-started",)) as running:
                while len(ends) < times:
                    begin = last_step(folder) if fault.ends_job else max(last_step(folder), 1)
                    if starts > 1 or not fault.ends_job:
                        # The file is cut back to the checkpoint when the run resumes.
                        running.wait_for(lambda: "step/s" in running.output)
                        begin = last_step(folder)
                    goal = min(begin + rng.randint(1, MOST_STEPS_BETWEEN_FAULTS), STEPS - 60)
                    running.wait_for_step(goal)
                    struck = time.monotonic()
                    fault.strike(running, rng)
                    if not fault.ends_job:
                        ends.append(0.0)
                        continue
                    running.wait_until_gone()
                    ends.append(time.monotonic() - struck)
                    reached = last_step(folder)
                    newest = sorted((folder / "run/checkpoints").glob("step-*"))
                    kept = int(newest[-1].name.removeprefix("step-")) if newest else 0
                    repeated.append(max(0, reached - kept))
                    break
                else:
                    running.wait()
        if fault.ends_job:
            with job(folder, fault.launcher, words=("--resume-if-started",)) as running:
                running.wait()
        found = read_losses(folder)
    finally:
        if is_disk:
            subprocess.run(["umount", "-l", str(folder / "run")], check=False)
    right = {step: values for step, values in reference if "train/loss" in values}
    mine = [(step, values) for step, values in found if "train/loss" in values]
    wrong = sum(right.get(step) != values for step, values in mine)
    return {
        "fault": fault.name,
        "launcher": fault.launcher,
        "times": len(ends),
        "steps_missing": len(set(right) - {step for step, _ in mine}),
        "steps_doubled": len(mine) - len({step for step, _ in mine}),
        "steps_different": wrong,
        "seconds_to_the_end_of_all_processes": _spread(ends) if fault.ends_job else None,
        # A job that was asked to stop saves first: none.
        "steps_done_again": _spread(repeated) if repeated else None,
    }


def read_losses(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and all values of each line of a run's metrics, except those of time."""
    lines = []
    for line in read_metrics(folder / "run/metrics.jsonl"):
        values = {name: value for name, value in line.items() if "per_second" not in name}
        lines.append((int(values.pop("step")), values))
    return lines


def _spread(values: list[Any]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "least": round(ordered[0], 2),
        "most": round(ordered[-1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--times", type=int, default=20, metavar="N", help="faults of each kind (default: 20)"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--name", default="faults", help="file name of the result")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        shards = make_shards(base / "shards")
        unbroken = prepare(base / "unbroken", shards, **configuration(None))
        with job(unbroken) as running:
            running.wait()
        reference = read_losses(unbroken)
        rows = []
        for number, fault in enumerate(FAULTS):
            if arguments.only and fault.name not in arguments.only:
                continue
            started = time.monotonic()
            rows.append(measure(fault, base / str(number), shards, reference, arguments.times))
            print(f"{time.monotonic() - started:.0f} s: {rows[-1]}", flush=True)
            write_result(arguments.name, {"steps": STEPS, "ranks": 2, "faults": rows}, arguments)


if __name__ == "__main__":
    main()
