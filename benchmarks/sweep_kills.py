"""A sweep whose processes are killed at random moments, and what it has lost when it has come to its end.

  python -m benchmarks.sweep_kills --kills 10 EMPTY_FOLDER

The driver, a trial, Ray's head (gcs_server) or its raylet gets SIGKILL at a random moment after the start;
the sweep is resumed if it has ended, until it finishes. Then its folder, the scheduler's memory and MLflow
are held against each other, and the trials' values against those of a sweep that nothing broke.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.common import write_result
from benchmarks.family import family_of, is_trial
from benchmarks.harness import make_shards, tiny_content
from langpose_dist.runs.metrics import read_metrics
from langpose_dist.tracking.client import connect

KINDS = ("driver", "trial", "head", "raylet")
LONGEST_PAUSE = 40.0
"""Seconds after a start, or after a kill that the sweep survives, within which the next kill falls."""
_SETTLING_SECONDS = 90.0
_HANG_SECONDS = 240.0
METRIC = "masked/mpjpe_mm"

Values = dict[tuple[int, int], Mapping[str, float]]
"""(Number of the trial, step) -> metrics."""


@dataclass
class Kill:
    """One kill, and what came of it."""

    kind: str
    after_seconds: float
    """Since the command was started."""
    evaluations: int
    """Evaluations that the sweep's trials had had until then."""
    status: int | None = None
    """With which the command ended; ``None`` if it continued."""
    seconds_to_its_end: float | None = None
    left_running: list[str] = field(default_factory=list)
    """Processes that did not end with it."""
    hung: bool = False


def main() -> None:
    """Kill, count and write down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="EMPTY_FOLDER", type=Path, help="holds the sweeps and their store")
    parser.add_argument("--kills", type=int, default=10, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_result(
        "sweep_kills", measure_kills(arguments.folder.resolve(), arguments.kills, arguments.seed), arguments
    )


def measure_kills(base: Path, times: int, seed: int) -> dict[str, Any]:
    """Kill until it has been done so many times, resuming each time, then count.

    Args:
        base: Empty folder.
        times: Kills in all; when a sweep ends before that, another is started.
        seed: Of what is killed, and when.
    """
    rng = random.Random(seed)
    config = make_config(base)
    unbroken = base / "unbroken"
    # Without a scheduler all trials come to their end, whatever the order.
    start = start_sweep(unbroken, "--config", config, f"output={unbroken}", "sweep.scheduler.name=none")
    if start.wait() != 0:
        raise SystemExit(f"the sweep that nothing breaks failed; see {unbroken}.log")
    reference = {
        (trial["number"], line["step"]): line["metrics"]
        for trial in read_trials(unbroken)
        for line in trial["evaluations"]
    }
    kills: list[Kill] = []
    sweeps: list[dict[str, Any]] = []
    while len(kills) < times:
        output = base / f"broken-{len(sweeps)}"
        before = len(kills)
        attempts = break_sweep(config, output, times, rng, kills)
        found = count_losses(output, reference)
        sweeps.append({"kills": len(kills) - before, "attempts": attempts, **found})
        print(f"{len(kills)} kills: {sweeps[-1]}", flush=True)
    names = [name for name, value in sweeps[0].items() if isinstance(value, int)]
    return {
        "kills": [vars(kill) for kill in kills],
        "total": {name: sum(sweep[name] for sweep in sweeps) for name in names},
        "by_kind": dict(Counter(kill.kind for kill in kills)),
        "hung": sum(kill.hung for kill in kills),
        "left_running": sum(len(kill.left_running) for kill in kills),
        "sweeps": sweeps,
    }


def make_config(base: Path) -> Path:
    """A sweep of six trials, some ten seconds each, with a store of its own."""
    content = tiny_content(
        make_shards(base / "shards"),
        base,
        train={"max_steps": 120, "evaluate_every": 15, "log_every": 5},
        tracking={"enabled": True, "uri": f"sqlite:///{base}/mlflow.db"},
        sweep={"num_trials": 5, "scheduler": {"reduction_factor": 2}},
    )
    path = base / "sweep.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def start_sweep(output: Path, *words: Any) -> "subprocess.Popen[bytes]":
    """The command; what it prints goes to a file beside the sweep's folder."""
    with output.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuning.sweep", *map(str, words)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def break_sweep(config: Path, output: Path, times: int, rng: random.Random, kills: list[Kill]) -> int:
    """Kill one sweep's processes and resume it until it is finished; returns how often it was started."""
    attempts = 0
    while True:
        attempts += 1
        words = ["--config", config, f"output={output}"]
        running = start_sweep(output, *words, *(["--resume"] if (output / "sweep.json").exists() else []))
        started = time.monotonic()
        seen: dict[int, psutil.Process] = {}
        while running.poll() is None:
            kill = None
            if len(kills) < times:
                kind, pause = rng.choice(KINDS), rng.uniform(0, LONGEST_PAUSE)
                kill = strike(kind, running, pause, started, output, seen)
            if kill is not None:
                kills.append(kill)
                print(f"kill {len(kills)}: {kill.kind} after {kill.after_seconds:.1f} s", flush=True)
                if kill.kind == "trial":
                    continue
            struck = time.monotonic()
            limit = _HANG_SECONDS if kill is not None else None
            _wait(running, seen, limit)
            if running.poll() is None and kill is not None:
                if _evaluations(output) > kill.evaluations:
                    continue  # it continues by itself
                kill.hung = True
                running.kill()
                running.wait()
            if kill is not None:
                kill.status = running.returncode
                kill.seconds_to_its_end = round(time.monotonic() - struck, 1)
        _, left = psutil.wait_procs(list(seen.values()), timeout=_SETTLING_SECONDS)
        if left and kills:
            kills[-1].left_running = [_name(process) for process in left]
        for process in left:
            process.kill()
        if running.returncode == 0:
            return attempts
        if len(kills) >= times and attempts > 3 * times:
            raise SystemExit(f"the sweep in {output} does not come to its end; see {output}.log")


def strike(
    kind: str,
    running: "subprocess.Popen[bytes]",
    pause: float,
    started: float,
    output: Path,
    seen: dict[int, psutil.Process],
) -> Kill | None:
    """Kill a process of the sweep after a pause, or as soon as there is one; ``None`` if it ended before."""
    until = time.monotonic() + pause
    while running.poll() is None:
        family = family_of(running.pid)
        seen.update({process.pid: process for process in family})
        if time.monotonic() >= until:
            found = [process for process in family if _is_of_kind(process, kind, running.pid)]
            if found:
                kill = Kill(kind, round(time.monotonic() - started, 1), _evaluations(output))
                try:
                    found[-1].send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
                return kill
        time.sleep(0.1)
    return None


def _is_of_kind(process: psutil.Process, kind: str, driver: int) -> bool:
    try:
        match kind:
            case "driver":
                return process.pid == driver
            case "trial":
                return is_trial(process)
            case "head":
                return process.name().startswith("gcs_server")
            case _:
                return process.name() == "raylet"
    except psutil.Error:
        return False


def _wait(running: "subprocess.Popen[bytes]", seen: dict[int, psutil.Process], limit: float | None) -> None:
    until = None if limit is None else time.monotonic() + limit
    while running.poll() is None and (until is None or time.monotonic() < until):
        seen.update({process.pid: process for process in family_of(running.pid)})
        time.sleep(0.5)


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:3]) or process.name()
    except psutil.Error:
        return "unknown"


def read_trials(output: Path) -> list[dict[str, Any]]:
    """Every ``trial.json`` of a sweep, by number."""
    found = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(output.glob("trials/*/trial.json"))
    ]
    return sorted(found, key=lambda trial: trial["number"])


def _evaluations(output: Path) -> int:
    return sum(len(trial["evaluations"]) for trial in read_trials(output))


def count_losses(output: Path, reference: Values) -> dict[str, Any]:
    """Values that a finished sweep lacks, or has twice.

    Args:
        output: Its folder.
        reference: Values of a sweep of the same points that nothing broke.
    """
    sweep = json.loads((output / "sweep.json").read_text(encoding="utf-8"))
    trials = read_trials(output)
    decisions = [
        json.loads(line)
        for line in (output / "ray/search-scheduler.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    counted = count_trials(trials, sweep["planned"], sweep["evaluate_every"], reference)
    for trial in trials:
        steps = [
            line["step"]
            for line in read_metrics(output / "trials" / trial["trial_id"] / "metrics.jsonl")
            if f"validation/{METRIC}" in line
        ]
        counted["evaluations_doubled"] += len(steps) - len(set(steps))
    tracked = count_runs(trials, sweep["tracking"])
    return {**counted, **count_decisions(decisions, trials), **tracked}


def count_trials(
    trials: Sequence[Mapping[str, Any]], planned: int, evaluate_every: int, reference: Values
) -> dict[str, int]:
    """Trials, and evaluations of trials, that are missing, doubled or other than in the reference."""
    numbers = Counter(trial["number"] for trial in trials)
    ended = {trial["number"] for trial in trials if trial["status"] in ("finished", "stopped")}
    missing = doubled = different = 0
    for trial in trials:
        steps = [line["step"] for line in trial["evaluations"]]
        missing += len(set(range(evaluate_every, trial["step"] + 1, evaluate_every)) - set(steps))
        doubled += len(steps) - len(set(steps))
        different += sum(
            line["metrics"].get(name) != value
            for line in trial["evaluations"]
            for name, value in reference[trial["number"], line["step"]].items()
        )
    return {
        "trials_planned": planned,
        "trials_finished": sum(trial["status"] == "finished" for trial in trials),
        "trials_stopped_by_the_scheduler": sum(trial["status"] == "stopped" for trial in trials),
        "trials_lost": planned - len(ended),
        "trials_doubled": len(trials) - len(numbers),
        "trials_started_again": sum(trial["failures"] for trial in trials),
        "evaluations": sum(len(trial["evaluations"]) for trial in trials),
        "evaluations_missing": missing,
        "evaluations_doubled": doubled,
        "values_different": different,
    }


def count_decisions(
    decisions: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Results that the scheduler was given twice, and decided otherwise; trials that ended otherwise."""
    first: dict[tuple[str, int], Mapping[str, Any]] = {}
    repeated = different = 0
    for line in decisions:
        before = first.setdefault((line["trial_id"], line["step"]), line)
        repeated += before is not line
        different += (before["decision"], before["value"]) != (line["decision"], line["value"])
    last = {
        trial_id: line["decision"] for (trial_id, _), line in sorted(first.items(), key=lambda one: one[0])
    }
    against = sum(trial["status"] == "stopped" and last.get(trial["trial_id"]) != "STOP" for trial in trials)
    return {
        "decisions": len(first),
        "decisions_repeated": repeated,
        "decisions_different": different,
        "trials_ended_against_them": against,
    }


def count_runs(trials: Sequence[Mapping[str, Any]], tracking: Mapping[str, Any]) -> dict[str, int]:
    """Runs in MLflow that are missing, doubled or wrong; waits for the last to arrive."""
    until = time.monotonic() + _SETTLING_SECONDS
    while True:
        counted = _count_runs(trials, tracking)
        is_right = not any(value for name, value in counted.items() if name != "runs")
        if is_right or time.monotonic() > until:
            return counted
        time.sleep(3)


def _count_runs(trials: Sequence[Mapping[str, Any]], tracking: Mapping[str, Any]) -> dict[str, int]:
    client = connect(tracking["tracking_uri"], create=False)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for experiment in experiments for run in client.search_runs([experiment])]
    parents = [run for run in runs if run.info.run_id == tracking["run_id"]]
    mine: dict[str, list[Any]] = {trial["trial_id"]: [] for trial in trials}
    for run in runs:
        mine.get(run.data.tags.get("sweep.trial_id", ""), []).append(run)
    values = 0
    for trial in trials:
        wanted = [(line["step"], line["metrics"][METRIC]) for line in trial["evaluations"]]
        for run in mine[trial["trial_id"]]:
            history = client.get_metric_history(run.info.run_id, f"validation/{METRIC}")
            values += sorted((metric.step, metric.value) for metric in history) != wanted
    return {
        "runs": sum(map(len, mine.values())),
        "runs_missing": sum(not found for found in mine.values()) + (not parents),
        "runs_doubled": sum(max(0, len(found) - 1) for found in mine.values()),
        "runs_with_a_wrong_status": sum(
            run.info.status != "FINISHED" for found in [*mine.values(), parents] for run in found
        ),
        "runs_with_wrong_values": values,
    }


if __name__ == "__main__":
    main()
