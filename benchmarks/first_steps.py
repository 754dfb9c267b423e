"""Which default keeps a pretraining near the mean pose: one changed at a time, the others as in the paper.

    python -m benchmarks.first_steps --data data/table1 --out runs/first_steps

Trains the model of configs/pretrain/small.yaml for some steps at the paper's learning rate and loss weights,
and then with one of them, or all, changed. One that is finished already is not repeated. Writes NAME.json and
prints the table.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.trainings import ROOT, train_once

PAPER = ("optimizer.learning_rate=5e-4", "loss.lambda_con=0.5", "loss.lambda_v=20.0")
CHANGES: dict[str, tuple[str, ...]] = {
    "the paper's": (),
    "learning rate 2e-4": ("optimizer.learning_rate=2e-4",),
    "learning rate 2e-3": ("optimizer.learning_rate=2e-3",),
    "lambda_v 2": ("loss.lambda_v=2.0",),
    "lambda_v 0": ("loss.lambda_v=0.0",),
    "lambda_con 0.05": ("loss.lambda_con=0.05",),
    "infonce": ("loss.contrastive=infonce",),
    "no contrastive term": ("loss.contrastive=none",),
    "learning rate 2e-3, lambda_v 2, lambda_con 0.05": (
        "optimizer.learning_rate=2e-3",
        "loss.lambda_v=2.0",
        "loss.lambda_con=0.05",
    ),
}


def main() -> None:
    """Run what is missing, then report all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards with a validation split")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--name", default="first_steps", help="name of the result")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()

    runs = [
        {"change": change, "seed": seed, "evaluation": train(arguments, number, change, seed)}
        for seed in arguments.seeds
        for number, change in enumerate(CHANGES)
    ]
    print(write_result(arguments.name, {"runs": runs}, arguments, arguments.results))
    print(table(runs))


def train(arguments: argparse.Namespace, number: int, change: str, seed: int) -> dict[str, Any]:
    """One training's evaluation."""
    return train_once(
        arguments.out / f"{number}-{seed}",
        ROOT / "configs/pretrain/small.yaml",
        *(f"data.path={arguments.data}", f"train.max_steps={arguments.steps}", f"seed={seed}"),
        *(*PAPER, *arguments.overrides, *CHANGES[change]),
        processes=arguments.processes,
    )


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Clean MPJPE and R@1 of each change, as Markdown; the range over seeds behind it."""
    lines = ["| changed | MPJPE clean mm | R@1 clean |", "|---|---|---|"]
    for change in dict.fromkeys(run["change"] for run in runs):
        found = [run["evaluation"]["conditions"]["clean"] for run in runs if run["change"] == change]
        cells = [_spread(found, "mpjpe_mm", 1), _spread(found, "r_at_1", 3)]
        lines.append(f"| {change} | {' | '.join(cells)} |")
    mean_pose = runs[0]["evaluation"]["mean_pose"]["mpjpe_mm"]
    return "\n".join([*lines, f"| (mean training pose) | {mean_pose:.1f} | |"])


def _spread(conditions: Sequence[dict[str, Any]], metric: str, digits: int) -> str:
    values = [found[metric] for found in conditions if metric in found]
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    main()
