"""Cost of a sweep besides its trainings, and how busy it keeps the cores.

  python -m benchmarks.sweep_cost SHARDS EMPTY_FOLDER

Nothing else may run meanwhile. One more trial: sweeps of one and of five trials, one at a time, against the
same trainings as commands of their own. Busy: 16 trials with ASHA, as many at a time as there are cores.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import write_result
from benchmarks.family import FamilyWatch, busy_shares, family_of, is_trial, read_watch
from langpose_dist.report.sweep import read_sweep

SMALL = Path(__file__).parents[1] / "configs/pretrain/small.yaml"
ONE_AT_A_TIME = ("sweep.scheduler.name=none", "sweep.baseline=false", "sweep.max_concurrent=1")
FEW, MANY = 1, 5


def main() -> None:
    """Measure both and write them down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", metavar="SHARDS", type=Path, help="of real motion, see docs/data.md")
    parser.add_argument("folder", metavar="EMPTY_FOLDER", type=Path, help="holds the sweeps and their store")
    parser.add_argument("--steps", type=int, default=150, help="of a timed trial (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True)
    base, shards = arguments.folder.resolve(), arguments.shards.resolve()
    common = [f"data.path={shards}", "data.num_workers=0", f"tracking.uri=sqlite:///{base}/mlflow.db"]
    trial = measure_trial(base, [*common, f"train.max_steps={arguments.steps}", "optimizer.warmup_steps=50"])
    write_result("sweep_cost", {"one_more_trial": trial, "busy": measure_busy(base, common)}, arguments)


def measure_trial(base: Path, common: list[str]) -> dict[str, Any]:
    """Seconds of one more trial in a sweep, and of its training as a command.

    Args:
        base: Folder for the runs.
        common: Overrides of all of them.
    """
    seconds = {}
    for count in (FEW, MANY):
        words = [*common, *ONE_AT_A_TIME, f"sweep.num_trials={count}", f"output={base / f'sweep-{count}'}"]
        seconds[count], _ = run_sweep(base / f"sweep-{count}", words)
    commands = []
    for trial in sorted((base / f"sweep-{MANY}" / "trials").iterdir()):
        run = base / f"train-{trial.name}"
        words = ["--config", str(trial / "config.yaml"), f"output={run}", "tracking.parent_run_id=null"]
        begun = time.monotonic()
        with (base / "train.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "langpose_dist.cli.main", "train", *words],
                check=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        commands.append(time.monotonic() - begun)
    each = (seconds[MANY] - seconds[FEW]) / (MANY - FEW)
    command = statistics.fmean(commands)
    return {
        "seconds_of_sweeps": {str(count): round(took, 2) for count, took in seconds.items()},
        "seconds_of_one_more_trial": round(each, 2),
        "seconds_as_a_command": round(command, 2),
        "seconds_of_the_commands": [round(took, 2) for took in commands],
        "overhead_per_trial_seconds": round(each - command, 2),
        "once_per_sweep_seconds": round(seconds[FEW] - FEW * each, 2),
    }


def measure_busy(base: Path, common: list[str]) -> dict[str, Any]:
    """How busy 16 trials with ASHA keep all cores.

    Args:
        base: Folder for the run.
        common: Overrides.
    """
    output = base / "asha"
    words = [*common, "train.max_steps=900", "optimizer.warmup_steps=50", "sweep.evaluations=12"]
    took, others = run_sweep(output, [*words, "sweep.num_trials=16", f"output={output}"])
    lines = read_watch(base / "asha.watch.jsonl")
    folder = read_sweep(output)
    at_work = [line["time"] for line in lines if line["num_trials"]]
    cores = len(psutil.Process().cpu_affinity() or [])
    return {
        "trials": len(folder.trials),
        "steps": sum(trial.step for trial in folder.trials),
        "cores": cores,
        "seconds": round(took, 1),
        "whole_command": busy_shares(lines, cores, lines[0]["time"], lines[-1]["time"]),
        "from_first_to_last_trial": busy_shares(lines, cores, at_work[0], at_work[-1]),
        "cpu_seconds_of_driver_and_ray": round(others, 1),
        "cpu_seconds_of_driver_and_ray_per_trial": round(others / len(folder.trials), 2),
    }


def run_sweep(output: Path, words: list[str]) -> tuple[float, float]:
    """Seconds of a sweep, and CPU seconds of its driver, of Ray and of what else is not a trial."""
    begun = time.monotonic()
    with output.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuning.sweep", "--config", str(SMALL), *words],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    watch = FamilyWatch(process.pid, output.with_suffix(".watch.jsonl"))
    spent: dict[int, float] = {}
    while process.poll() is None:
        for member in family_of(process.pid):
            try:
                if not is_trial(member):
                    spent[member.pid] = sum(member.cpu_times()[:2])
            except psutil.Error:
                continue
        time.sleep(1)
    watch.close()
    if process.returncode:
        raise SystemExit(f"the sweep failed; see {output.with_suffix('.log')}")
    return time.monotonic() - begun, sum(spent.values())


if __name__ == "__main__":
    main()
