"""Folders of sweeps, made by hand with numbers that are known."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MPJPE, RECALL = "masked/mpjpe_mm", "masked/r_at_1"
SPACE = {
    "loss.lambda_con": {"log_uniform": [0.05, 5.0]},
    "loss.contrastive": {"choice": ["infonce", "modified"]},
    "loss.gamma": {"uniform": [0, 4]},
    "optimizer.warmup_steps": {"integer": [10, 100]},
    "train.global_batch_size": {"choice": [16, 32]},
}
NUM_STEPS = 3000


def sweep_content(**changes: Any) -> dict[str, Any]:
    """Content of ``sweep.json``."""
    return {
        "format": 1,
        "status": "finished",
        "reason": "",
        "started": "2026-11-20T10:00:00+00:00",
        "seconds": 7200.0,
        "attempts": 1,
        "objective": [MPJPE],
        "split": "validation",
        "searcher": "random",
        "seed": 0,
        "scheduler": {
            "name": "none",
            "metric": None,
            "grace_evaluations": 1,
            "reduction_factor": 3,
        },
        "rungs": [],
        "num_steps": NUM_STEPS,
        "evaluate_every": 250,
        "planned": 3,
        "space": {"loss.lambda_con": SPACE["loss.lambda_con"]},
        "seeds": [],
        "finalists": 3,
        "resources": {"workers": 1, "cpus": 1.0, "gpus": 0.0},
        "max_concurrent": 2,
        "origin": {
            "dataset": "bandai-namco",
            "fps": 30,
            "data_fingerprint": "f" * 64,
            "config_hash": "c0ffee",
            "commit": "0123456789abcdef0123",
            "commit_dirty": "false",
            "source_2d": "synthetic: ground-truth 3D through a virtual camera",
        },
        "environment": {"devices": "a processor"},
        "tracking": {},
        "best": None,
        **changes,
    }


def trial_content(number: int, params: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Content of ``trial.json``; without parameters the baseline's.

    Args:
        number: Of the trial.
        params: Its values.
        **changes: Any key; ``values`` is objective by step, or metrics by step.
    """
    values = changes.pop("values", {})
    evaluations = [
        {"step": step, "metrics": found if isinstance(found, Mapping) else {MPJPE: found}}
        for step, found in values.items()
    ]
    last = max(values, default=0)
    return {
        "format": 1,
        "trial_id": f"t{number:03d}",
        "number": number,
        "stage": "search",
        "is_baseline": params is None,
        "params": dict(params or {}),
        "seed": 0,
        "status": "finished",
        "reason": "",
        "step": last,
        "rung": None,
        "failures": 0,
        "seconds": 600.0,
        "num_devices": 1,
        "device": "CPU",
        "evaluations": evaluations,
        **changes,
    }


def write_sweep(folder: Path, trials: Sequence[Mapping[str, Any]], **changes: Any) -> Path:
    """Write a sweep's folder.

    Args:
        folder: New.
        trials: From ``trial_content``.
        **changes: Keys of ``sweep.json``.
    """
    folder.mkdir(parents=True)
    write_json(folder / "sweep.json", sweep_content(**changes))
    for trial in trials:
        write_json(folder / "trials" / trial["trial_id"] / "trial.json", trial)
    return folder


def write_json(path: Path, content: object) -> None:
    """Write a file, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_asha(folder: Path, num_trials: int = 16, *, seed: int = 0, **changes: Any) -> Path:
    """A search with early stopping, a baseline, two lost trials and a retrieval metric.

    The objective depends on ``lambda_con`` alone, best at 0.5, beside a little noise.
    """
    generator = random.Random(seed)
    rungs = [250, 750, 2250]
    curve = _curve(None, generator, NUM_STEPS, seed)
    trials = [trial_content(0, values=curve, seconds=3000.0, rung=2250)]
    for number in range(1, num_trials + 1):
        params = draw_params(generator)
        draw = generator.random()
        last = 250 if draw < 0.45 else 750 if draw < 0.65 else 2250 if draw < 0.75 else NUM_STEPS
        status = "finished" if last == NUM_STEPS else "stopped"
        reason = "" if status == "finished" else f"stopped by the scheduler after step {last}"
        if number == 3:
            status, reason = "diverged", "loss is nan at step 600"
            last = 500
        if number == 5:
            status, reason, last = "failed", "out of memory", 250
        trials.append(
            trial_content(
                number,
                params,
                values=_curve(params, generator, last, seed),
                status=status,
                reason=reason,
                rung=max((rung for rung in rungs if rung <= last), default=None),
                seconds=float(last),
            )
        )
    scheduler = {"name": "asha", "metric": None, "grace_evaluations": 1, "reduction_factor": 3}
    content: dict[str, Any] = {
        "scheduler": scheduler,
        "rungs": rungs,
        "planned": num_trials + 1,
        "space": SPACE,
    }
    content |= changes
    folder = write_sweep(folder, trials, **content)
    base = {
        "loss": {"lambda_con": 0.5, "contrastive": "modified", "gamma": 2.0},
        "optimizer": {"warmup_steps": 50},
        "train": {"global_batch_size": 32},
    }
    (folder / "sweep.yaml").write_text(json.dumps(base), encoding="utf-8")  # JSON is YAML
    return folder


def make_table1(folder: Path) -> Path:
    """Three forms of one categorical parameter with three seeds each, and no baseline."""
    values = {
        "none": (80.0, 82.0, 81.0),
        "infonce": (79.0, 80.0, 81.0),
        "modified": (77.0, 79.5, 78.5),
    }
    trials = [
        trial_content(
            3 * place + seed,
            {"loss.contrastive": form},
            seed=seed,
            values={
                step: {
                    MPJPE: value + 60 * math.exp(-step / 900),
                    "clean/mpjpe_mm": value - 9,
                    RECALL: 0.3 + 0.1 * place,
                }
                if step < NUM_STEPS
                else {MPJPE: value, "clean/mpjpe_mm": value - 9, RECALL: 0.3 + 0.1 * place}
                for step in range(500, NUM_STEPS + 1, 500)
            },
        )
        for place, (form, row) in enumerate(values.items())
        for seed, value in enumerate(row)
    ]
    space = {"loss.contrastive": {"choice": list(values)}}
    return write_sweep(folder, trials, space=space, searcher="grid", planned=9, seeds=[0, 1, 2])


def make_confirmed(folder: Path, num_seeds: int = 3) -> Path:
    """A search with fresh seeds for two finalists and the baseline."""
    finalists: list[tuple[dict[str, Any] | None, float, tuple[float, ...]]] = [
        (None, 82.0, (81.0, 83.0, 82.0)),
        ({"loss.lambda_con": 0.3}, 76.0, (80.0, 81.0, 82.0)),
        ({"loss.lambda_con": 0.6}, 77.0, (78.0, 79.0, 79.0)),
        ({"loss.lambda_con": 3.0}, 90.0, ()),
    ]
    trials = [
        trial_content(number, params, values={1000: value + 10, NUM_STEPS: value})
        for number, (params, value, _) in enumerate(finalists)
    ]
    for place, (params, _, values) in enumerate(finalists):
        trials += [
            trial_content(
                10 + 3 * place + seed,
                params,
                stage="confirm",
                seed=seed + 1,
                values={1000: value + 10, NUM_STEPS: value},
            )
            for seed, value in enumerate(values[:num_seeds])
        ]
    space = {"loss.lambda_con": {"log_uniform": [0.05, 5.0]}}
    return write_sweep(folder, trials, space=space, planned=4, seeds=[1, 2, 3][:num_seeds], finalists=2)


def make_pareto(folder: Path) -> Path:
    """Two objectives: position error, and recall, of which more is better."""
    # The first three are on the front; the fourth and fifth are each worse than one of them in both.
    points = [(70.0, 0.30), (75.0, 0.50), (85.0, 0.70), (76.0, 0.45), (86.0, 0.60), (71.0, 0.20)]
    trials = [
        trial_content(
            number,
            {"loss.lambda_con": 0.1 * (number + 1)},
            values={1500: {MPJPE: error + 20, RECALL: recall / 2}, NUM_STEPS: {MPJPE: error, RECALL: recall}},
        )
        for number, (error, recall) in enumerate(points)
    ]
    baseline = trial_content(6, values={NUM_STEPS: {MPJPE: 80.0, RECALL: 0.4}})
    space = {"loss.lambda_con": {"log_uniform": [0.05, 5.0]}}
    return write_sweep(folder, [*trials, baseline], objective=[MPJPE, RECALL], space=space, planned=7)


def draw_params(generator: random.Random) -> dict[str, Any]:
    """A point of ``SPACE``."""
    form = generator.choice(["infonce", "modified"])
    return {
        "loss.lambda_con": math.exp(generator.uniform(math.log(0.05), math.log(5))),
        "loss.contrastive": form,
        "loss.gamma": generator.uniform(0, 4) if form == "modified" else 0.0,
        "optimizer.warmup_steps": generator.randint(10, 100),
        "train.global_batch_size": generator.choice([16, 32]),
    }


def _curve(
    params: Mapping[str, Any] | None, generator: random.Random, last: int, seed: int
) -> dict[int, dict[str, float]]:
    weight = 0.9 if params is None else params["loss.lambda_con"]
    floor = 78 + 3 * math.log(weight / 0.5) ** 2 + generator.gauss(0, 0.4)
    return {
        step: {
            MPJPE: floor + 70 * math.exp(-step / 700) + generator.gauss(0, 0.3),
            "clean/mpjpe_mm": floor - 8 + 70 * math.exp(-step / 700),
            RECALL: min(0.9, max(0.0, 0.9 - 4 / (floor - 70) - 0.3 * math.exp(-step / 700))),
            "masked/loss": 0.02 + math.exp(-step / 700),
        }
        for step in range(250, last + 1, 250)
    }
