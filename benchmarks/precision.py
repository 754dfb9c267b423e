"""Distance of a training in bfloat16, with and without a bfloat16 residual stream, from float32.

    python -m benchmarks.precision --data data/table1 --out runs/precision --steps 300

Trains the same windows with the same seeds in three precisions; one that is finished already is not
repeated. Writes precision.json and prints the table: the mean loss of the logs after half of the steps, and
the clean position error of the trained weights.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.trainings import ROOT, train_once
from langpose_dist.runs.metrics import read_metrics

PRECISIONS = {
    "float32": ("train.precision=float32",),
    "bfloat16": ("train.precision=bfloat16", "model.stream=float32"),
    "bfloat16, also the stream": ("train.precision=bfloat16", "model.stream=bfloat16"),
}


def main() -> None:
    """Run what is missing, then report all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of shards with a validation split")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--config", type=Path, default=ROOT / "configs/pretrain/small.yaml")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_args()

    runs = []
    for seed in arguments.seeds:
        for number, (name, words) in enumerate(PRECISIONS.items()):
            folder = arguments.out / f"{number}-{seed}"
            evaluation = train_once(
                folder,
                arguments.config,
                *(f"data.path={arguments.data}", f"seed={seed}", f"train.max_steps={arguments.steps}"),
                *("train.evaluate_every=null", "train.log_every=10", *words, *arguments.overrides),
                processes=1,
            )
            lines = read_metrics(folder / "metrics.jsonl")
            late = [
                line["train/loss"]
                for line in lines
                if "train/loss" in line and line["step"] > arguments.steps / 2
            ]
            runs.append(
                {
                    "precision": name,
                    "seed": seed,
                    "late_loss": statistics.fmean(late),
                    "mpjpe_mm": evaluation["conditions"]["clean"]["mpjpe_mm"],
                }
            )
    print(write_result("precision", {"runs": runs}, arguments, arguments.results))
    print(table(runs))


def table(runs: list[dict[str, Any]]) -> str:
    """Rows of precisions, columns of seeds, as Markdown."""
    seeds = sorted({run["seed"] for run in runs})
    lines = [f"| precision | {' | '.join(f'loss, seed {seed} | mm' for seed in seeds)} |"]
    lines.append("|---" * (1 + 2 * len(seeds)) + "|")
    for name in PRECISIONS:
        mine = {run["seed"]: run for run in runs if run["precision"] == name}
        cells = [f"{mine[seed]['late_loss']:.4f} | {mine[seed]['mpjpe_mm']:.1f}" for seed in seeds]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
