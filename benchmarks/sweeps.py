"""Worth of a search of the loss weights: the best of 16 ASHA trials, the paper's weights, random search.

Three sweeps of configs/pretrain/small.yaml with the paper's weights as baseline; this module gathers them:

  run="python -m tuning.sweep --config configs/pretrain/small.yaml data.path=SHARDS data.num_workers=0
       train.max_steps=900 optimizer.warmup_steps=50 sweep.evaluations=12 loss.lambda_con=0.5 loss.lambda_3d=1
       loss.lambda_v=20 loss.temperature=0.1"
  $run output=DIR/asha sweep.num_trials=16 sweep.seeds=[1,2,3] sweep.finalists=1
  $run output=DIR/random sweep.num_trials=N sweep.seed=1 sweep.scheduler.name=none sweep.baseline=false
  python -m tuning.sweep --config DIR/random/best.yaml output=DIR/random-best sweep.searcher=grid
      "sweep.space={loss.contrastive: {choice: [modified]}}" sweep.scheduler.name=none sweep.baseline=false
      sweep.seeds=[1,2,3]
  python -m benchmarks.sweeps DIR

N: the steps that ASHA's 16 trials took together, in whole trainings. The seeds compared chose nothing.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from langpose_dist.report.sweep import TrialRecord, read_sweep
from langpose_dist.report.sweep.numbers import t_quantile
from langpose_dist.report.sweep.records import SweepFolder

METRICS = ("masked/mpjpe_mm", "clean/mpjpe_mm", "masked/r_at_1")


def main() -> None:
    """Gather the sweeps of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="holds asha, random and random-best")
    arguments = parser.parse_args()
    asha, random, again = (read_sweep(arguments.folder / name) for name in ("asha", "random", "random-best"))
    searched = [trial for trial in asha.trials if trial.stage == "search" and not trial.is_baseline]
    arms = {
        "best of 16 ASHA trials": [
            trial for trial in asha.trials if trial.stage == "confirm" and not trial.is_baseline
        ],
        "best of random search at equal cost": list(again.trials),
        "the paper's weights": [
            trial for trial in asha.trials if trial.stage == "confirm" and trial.is_baseline
        ],
    }
    values = {
        arm: {metric: by_seed(trials, metric, asha) for metric in METRICS} for arm, trials in arms.items()
    }
    best = values["best of 16 ASHA trials"]
    write_result(
        "sweeps",
        {
            "sweep": asha.sweep.origin.model_dump(),
            "split": asha.sweep.split,
            "steps": asha.sweep.num_steps,
            "rungs": asha.sweep.rungs,
            "search_steps": {
                "asha": sum(trial.step for trial in searched),
                "random": sum(trial.step for trial in random.trials),
            },
            "search_device_seconds": {
                "asha": round(sum(trial.device_seconds for trial in searched)),
                "random": round(sum(trial.device_seconds for trial in random.trials)),
            },
            "params": {arm: dict(trials[0].params) for arm, trials in arms.items()}
            | {"best of random search at equal cost": _chosen(random)},
            "rows": [
                {"arm": arm, **{name: summary(row[name]) for name in METRICS}} for arm, row in values.items()
            ],
            "best_of_asha_minus": {
                arm: {metric: difference(best[metric], row[metric]) for metric in METRICS}
                for arm, row in values.items()
                if row is not best
            },
        },
        arguments,
    )


def by_seed(trials: list[TrialRecord], metric: str, folder: SweepFolder) -> dict[int, float]:
    """A metric at the last step, for every seed."""
    return {trial.seed: trial.values_at(folder.sweep.num_steps)[metric] for trial in trials}


def summary(values: Mapping[int, float]) -> dict[str, Any]:
    """Mean and standard deviation over the seeds."""
    return {
        "mean": round(statistics.fmean(values.values()), 4),
        "sd": round(statistics.stdev(values.values()), 4),
        "by_seed": {str(seed): round(value, 4) for seed, value in values.items()},
    }


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> dict[str, Any]:
    """Paired over the seeds, with the 95 % interval of Student's t."""
    pairs = [one[seed] - other[seed] for seed in one]
    half = t_quantile(len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    mean = statistics.fmean(pairs)
    return {"mean": round(mean, 4), "interval_95": [round(mean - half, 4), round(mean + half, 4)]}


def _chosen(folder: SweepFolder) -> dict[str, Any]:
    assert folder.sweep.best is not None
    return dict(folder.sweep.best.params)


if __name__ == "__main__":
    main()
